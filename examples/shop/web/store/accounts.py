"""Signing up and in."""

from django.contrib.auth import login
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.http import HttpResponse
from django.views.generic import FormView

from store.forms import SignInForm, SignUpForm


class SignUp(RedirectURLMixin, FormView):
    form_class = SignUpForm
    template_name = "store/sign_up.html"
    next_page = "catalogue"

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        login(self.request, form.save())
        return super().form_valid(form)


class SignIn(LoginView):
    form_class = SignInForm
    template_name = "store/sign_in.html"
    redirect_authenticated_user = True

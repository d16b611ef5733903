"""The storefront's forms."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm
from django.contrib.auth.models import User

from store.api import DeliveryOption
from store.cart import MOST_OF_ONE
from store.models import Order, Product
from store.templatetags.money import euros


class CartLineForm(forms.Form):
    product = forms.ModelChoiceField(Product.objects.all(), widget=forms.HiddenInput)
    quantity = forms.IntegerField(min_value=0, max_value=MOST_OF_ONE, initial=1)


class CheckoutForm(forms.ModelForm):
    delivery = forms.ChoiceField(widget=forms.RadioSelect)

    class Meta:
        model = Order
        fields = ["full_name", "street", "postcode", "city", "delivery"]
        widgets = {
            "full_name": forms.TextInput({"autocomplete": "name"}),
            "street": forms.TextInput({"autocomplete": "street-address"}),
            "postcode": forms.TextInput({"autocomplete": "postal-code"}),
            "city": forms.TextInput({"autocomplete": "address-level2"}),
        }

    def __init__(self, options: list[DeliveryOption], *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.options = {option.id: option for option in options}
        self.fields["delivery"].choices = [
            (option.id, f"{option.name}, {option.when}: {euros(option.cents)}") for option in options
        ]
        self.fields["delivery"].initial = options[0].id


class SignUpForm(BaseUserCreationForm):
    username = forms.EmailField(label="Email", max_length=150, widget=forms.EmailInput({"autocomplete": "email"}))

    class Meta:
        model = User
        fields = ["username"]

    def clean_username(self) -> str:
        email = self.cleaned_data["username"].lower()
        if User.objects.filter(username=email).exists():
            raise forms.ValidationError("There is an account with this email already. Sign in instead.")
        return email


class SignInForm(AuthenticationForm):
    username = forms.EmailField(label="Email", widget=forms.EmailInput({"autofocus": True, "autocomplete": "email"}))
    error_messages = {"invalid_login": "There is no account with this email and password.", "inactive": ""}

    def clean_username(self) -> str:
        return self.cleaned_data["username"].lower()

"""Kubernetes objects as pure functions of what is wanted: nothing here talks to a cluster."""

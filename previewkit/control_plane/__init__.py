"""The control plane on one machine: its servers, their supervision, its TLS and its settings file."""

"""People who sign up, get mail, and change their address."""

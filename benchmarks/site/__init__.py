"""The site that is measured: it runs in the environment of a peer, without the checkout."""

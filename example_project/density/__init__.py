"""How long are our sentences? A Parzen-window density estimate."""

"""What demo.py does, with nothing but the standard library."""

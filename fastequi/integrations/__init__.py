"""fastequi as the force of other people's engines."""

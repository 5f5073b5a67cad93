"""Reading files of weights and images without executing or trusting them."""

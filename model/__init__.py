"""What training and inference must agree on: records, templates, packing, forward pass, decoding."""

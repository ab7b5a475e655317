"""What makes bytes small and unreadable: compression, encryption, keys, signatures, and the frame around them."""

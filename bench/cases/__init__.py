"""Cases of what may go wrong: each a program that prints a line of JSON a round."""

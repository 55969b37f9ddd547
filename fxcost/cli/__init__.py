"""The commands of the command line, a file for each family, and what several of them need."""

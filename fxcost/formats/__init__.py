"""Number formats: what elements are stored as, and schemes that say which storage of a model has which."""

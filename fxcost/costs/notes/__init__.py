"""What is told of a model beside its numbers."""

"""A whole product's journey, from a packaging line to a consumer, for people to watch and tests to use."""

"""Prints the schema as the types and resolvers say it: what schema/schema.graphql must be."""

from resolvers.root import make_schema

if __name__ == "__main__":
    print(make_schema().as_str())

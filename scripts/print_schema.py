"""Prints the schema as the types and resolvers say it: what schema/schema.graphql must be."""

from resolvers.root import sdl

if __name__ == "__main__":
    print(sdl(), end="")

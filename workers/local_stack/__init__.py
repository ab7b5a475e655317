"""A whole stack on this machine, for trying Strata out and for its tests: real servers, no root, no docker."""

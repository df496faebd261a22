/* Stands in for what libb2's configure would make: the reference file needs nothing of it. */

LIBS_operator := -ljansson -lsodium

LIBS_operator := -ljansson -lyaml -lsodium

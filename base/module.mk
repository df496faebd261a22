LIBS_base := -lsodium -lyaml

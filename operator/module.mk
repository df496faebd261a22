LIBS_operator := -ljansson

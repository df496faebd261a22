LIBS_agent := -ljansson

CPPFLAGS_enroll :=
LIBS_enroll := -lsodium -ljansson

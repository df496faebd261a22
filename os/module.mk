LIBS_os := -lseccomp -lz

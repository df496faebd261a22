LIBS_os := -luv -lseccomp -lz -pthread

# Libraries that no usable package provides: fetched by pin and checksum, built with our configuration.
# Each recipe sets <NAME>_DIR (its sources) and a stamp that a folder's DEPS_ names.
DL ?= third_party/dl
DEB_ARCHIVE ?= $(patsubst %/,%,$(shell apt-get indextargets --no-release-info --format '$$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/$$'))

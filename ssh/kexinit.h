/*
 * ssh/kexinit.h - what a server offers in its first packet, read beside libssh2, which does not tell all of it.
 */
#ifndef SSH_KEXINIT_H
#define SSH_KEXINIT_H

#include "base/types.h"

/**
 * ssh_kexinit_offers() - is @name in the key exchange list of the server whose first bytes are @seen?
 *
 * RFC 4253, sections 4.2, 6 and 7.1. Only the list itself counts, and only in a KEXINIT that is the first packet: lines before
 * the version string and other packets are not part of what the exchange signs, so anybody in between could have
 * put the name there. Also false when the bytes end too early.
 */
bool ssh_kexinit_offers(struct bytes seen, const char *name);

#endif

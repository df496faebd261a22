/*
 * test/lib/ssh_server.h - an SSH-2 server that does what a test asks, right or wrong. Blocking; run it in a child process.
 *
 * curve25519-sha256, ssh-ed25519, AES-GCM or AES-CTR with hmac-sha2-256 in both orders; any key logs in; one channel.
 */
#ifndef TEST_SSH_SERVER_H
#define TEST_SSH_SERVER_H

#include "base/types.h"

enum server_fault {
	SERVER_GOOD,
	/* before the key exchange */
	SERVER_SILENT, SERVER_DRIP, SERVER_ENDLESS_LINE, SERVER_ENDLESS_LINES, SERVER_NUL_BANNER, SERVER_GARBAGE,
	SERVER_HUGE_PACKET, SERVER_TINY_PACKET, SERVER_NEWKEYS_FIRST, SERVER_IGNORE_FIRST, SERVER_ENDLESS_IGNORE,
	SERVER_CLOSE_AT_ONCE, SERVER_CLOSE_BANNER, SERVER_CLOSE_KEXINIT, SERVER_SHORT_KEXINIT,
	/* in it */
	SERVER_BAD_SIGNATURE, SERVER_BAD_HOST_KEY, SERVER_EMPTY_HOST_KEY, SERVER_ZERO_POINT, SERVER_CLOSE_REPLY, SERVER_CLOSE_NEWKEYS,
	/* login */
	SERVER_EXT_INFO_COUNT, SERVER_EXT_INFO_LENGTH, SERVER_CRYPTED_HUGE, SERVER_CRYPTED_TINY, SERVER_CRYPTED_SHORT, SERVER_BAD_TAG,
	SERVER_CLOSE_SERVICE, SERVER_REFUSE_LOGIN, SERVER_CLOSE_LOGIN, SERVER_BANNER_ESCAPES,
	/* channels */
	SERVER_REFUSE_CHANNEL, SERVER_NO_CHANNEL_ANSWER, SERVER_CLOSE_CHANNEL_OPEN, SERVER_REFUSE_COMMAND, SERVER_CLOSE_EXEC,
	SERVER_ZERO_WINDOW, SERVER_HUGE_WINDOW, SERVER_NO_STATUS, SERVER_EXIT_SIGNAL, SERVER_DATA_AFTER_EOF, SERVER_CLOSE_OUTPUT,
	SERVER_FLOOD_WINDOW, SERVER_FLOOD_UNKNOWN, SERVER_OTHER_CHANNEL, SERVER_DISCONNECT_TEXT, SERVER_SHORT_STATUS, SERVER_SLOW_COMMAND,
};

struct ssh_server {
	enum server_fault fault;
	const char *preamble; /* sent in front of the identification */
	bool strict;          /* offers strict key exchange */
	const char *ciphers, *macs;
	int fd;
	int report_fd;        /* what was negotiated is written here, as text: "cipher mac\n"; -1 none */
};

/** ssh_server_run() - until it is over; then the process ends */
NORETURN void ssh_server_run(const struct ssh_server *s);

#endif

/*
 * ssh/session.h - what a command and the SSH worker say to each other over a Unix stream.
 *
 * Frames: u32 length of what follows (little endian), u8 type, body. Strings are u32 length and
 * bytes. At most SSH_FRAME_MAX a frame. One session carries one job: an exec, a file transfer, a
 * direct TCP connection, or file operations. Flow control is the socket's; data frames hold at most
 * SSH_DATA_MAX bytes.
 */
#ifndef SSH_SESSION_H
#define SSH_SESSION_H

#define SSH_FRAME_MAX (256 * 1024 + 16)
#define SSH_DATA_MAX (256 * 1024)
#define SSH_SESSION_VERSION 1
#define SSH_ERROR_TEXT_MAX 1200 /* of the message in SSH_F_ERROR */

/* The types' values are the protocol: never renumber. */
enum ssh_frame {
	/* command -> worker */
	SSH_F_EXEC = 1,     /* u32 version, string command, u32 deadline_ms (0 = none) */
	SSH_F_STDIN = 2,    /* bytes */
	SSH_F_STDIN_EOF = 3,
	SSH_F_SIGNAL = 4,   /* string name without SIG, e.g. "INT" */
	SSH_F_GET = 5,      /* u32 version, string path: the file's bytes come as STDOUT, then EXIT 0 */
	SSH_F_PUT = 6,      /* u32 version, string path, u32 mode: bytes follow as STDIN, then STDIN_EOF; written to
			     * a temporary name beside it and renamed */
	SSH_F_DIRECT = 7,   /* u32 version, string host or /path, u32 port: connected there; bytes as STDIN and STDOUT */
	SSH_F_CLOSE = 8,    /* close the channel now */
	SSH_F_FS = 9,       /* u32 version: many file operations at once, ssh/fs_session.h */
	SSH_F_OP = 10,
	SSH_F_OP_DATA = 11,
	SSH_F_OP_EOF = 12,
	SSH_F_OP_CANCEL = 13,
	SSH_F_SHELL = 14,   /* u32 version, string command (empty: the login shell), u32 has_tty, string term, u32 columns,
			     * rows, string modes (RFC 4254, 8), u32 n, n x (string name, string value): environment */
	SSH_F_WINDOW = 15,  /* u32 columns, rows: the terminal has another size */
	SSH_F_LISTEN = 16,  /* u32 version, string host, u32 port (0 = any): the server listens while this session stands;
			     * READY with u32 number, u32 port */
	SSH_F_ACCEPT = 17,  /* u32 version, string (empty), u32 number: READY when a connection came, then as DIRECT */
	SSH_F_LOGIN = 18,   /* u32 version, string (empty), u32 0: no more than a connection; READY, then EXIT 0 */
	SSH_F_ANSWER = 19,  /* u32 has_answer, string passphrase: to SSH_F_ASK */
	/* worker -> command */
	SSH_F_READY = 64,   /* the job runs: u64 size for GET (UINT64_MAX unknown), u32 mode */
	SSH_F_STDOUT = 65,  /* bytes */
	SSH_F_STDERR = 66,  /* bytes */
	SSH_F_STDOUT_EOF = 67,
	SSH_F_EXIT = 68,    /* u32 status; the last frame */
	SSH_F_EXIT_SIGNAL = 69, /* string name; the last frame */
	SSH_F_ERROR = 70,   /* u32 enum err, string message for people (which key, why, what next); the last frame */
	SSH_F_NOTE = 71,    /* string for stderr, e.g. "host key accepted: SHA256:..." */
	SSH_F_OP_INFO = 72,
	SSH_F_OP_ENTRY = 73,
	SSH_F_OP_BYTES = 74,
	SSH_F_OP_MORE = 75,
	SSH_F_OP_DONE = 76,
	SSH_F_ASK = 77,     /* string path of a key, u32 wrong answers so far: a person is to tell its passphrase. To EXEC, SHELL,
			     * LOGIN, GET and PUT, before READY */
};

#endif

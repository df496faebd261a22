/*
 * test/lib/sftp_rig.h - a session of file operations (ssh/fs.h) without SSH: against OpenSSH's sftp-server over a socket
 * pair, or against a server of the test's own that answers out of a buffer.
 */
#ifndef TEST_SFTP_RIG_H
#define TEST_SFTP_RIG_H

#include <sys/types.h>

#include "ssh/fs.h"

#define RIG_ENTRIES_MAX 512

/* What came for one operation. */
struct rig_result {
	bool done;
	enum err error;
	char message[512];
	bool has_info;
	struct ssh_attr attr;
	struct ssh_fs_space space;
	struct ssh_buf bytes;   /* at their offsets, from the first on */
	uint64_t first_offset;
	size_t n_entries;
	struct {
		char *name;
		struct ssh_attr attr;
	} entries[RIG_ENTRIES_MAX];
	uint64_t credit;
};

/* A further channel to another sftp-server in the same folder, as struct fs_lanes has them. */
struct rig_lane {
	struct sftp_client client;
	int fd;
	pid_t pid;
	bool held;       /* nothing moves on it, in neither direction */
	uint64_t n_sent; /* bytes */
};

struct rig {
	struct sftp_client client;
	struct fs_session session;
	struct ssh_buf out;
	nsec_t now;
	int fd;    /* to sftp-server; -1 with a server of the test's own */
	pid_t pid;
	bool held; /* as of a lane */
	/* With this the server gets one request at a time, and this is called before each, with its type on the wire. */
	void (*before)(void *ctx, uint8_t type);
	struct rig_lane lane[FS_LANES_MAX - 1];
	struct fs_lanes lanes; /* those of them that there are */
	char dir[64];
	/* The test's own server: takes requests from client.out, answers into client.in. */
	void (*serve)(void *ctx, struct rig *r);
	void *ctx; /* of both */
	struct rig_result results[128]; /* by id */
};

/** rig_open() - a folder of its own and sftp-server in it; false: there is no sftp-server here */
bool rig_open(struct rig *r);
/** rig_add_lane() - another channel for the session of rig_open() */
struct rig_lane *rig_add_lane(struct rig *r);
/** rig_end_lane() - its server is killed */
void rig_end_lane(struct rig_lane *l);
void rig_open_fake(struct rig *r, void (*serve)(void *ctx, struct rig *r), void *ctx);
void rig_close(struct rig *r);
/** rig_pump() - one turn; false: nothing moved for 5 s */
bool rig_pump(struct rig *r);
/** rig_op() - send one; fields that the kind does not have are left out. The result of @id is emptied. */
void rig_op(struct rig *r, uint32_t id, enum ssh_op kind, const char *path, struct ssh_buf *fields);
/** rig_wait() - until its DONE */
struct rig_result *rig_wait(struct rig *r, uint32_t id);
void rig_put(struct rig *r, uint32_t id, const char *path, uint32_t mode, uint32_t flags, uint64_t source, uint32_t mtime);
void rig_data(struct rig *r, uint32_t id, uint64_t offset, const void *p, size_t len);
void rig_eof(struct rig *r, uint32_t id, uint64_t size);
void rig_get(struct rig *r, uint32_t id, const char *path, uint64_t offset, uint64_t length);
/** rig_put_whole() - all of it, as the credit allows; the result */
struct rig_result *rig_put_whole(struct rig *r, uint32_t id, const char *path, const void *p, size_t len);
bool rig_has_entry(const struct rig_result *res, const char *name);

#endif

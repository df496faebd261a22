/*
 * operator/fs_local.h - the local side of a get: files, folders and links below one folder, which names that a server sends
 * never leave.
 */
#ifndef OPERATOR_FS_LOCAL_H
#define OPERATOR_FS_LOCAL_H

#include <limits.h>

#include "base/err.h"
#include "base/types.h"
#include "ssh/fs_session.h"

/* A folder, and below it the one that was used last. Functions return 0, or an errno value. */
struct fs_tree {
	int root, last;
	char last_path[PATH_MAX];
};

int fs_tree_open(struct fs_tree *t, const char *path);
void fs_tree_close(struct fs_tree *t);
/** fs_tree_mkdir() - a folder that may be there already; "" is the root. Others may not enter it before it is whole. */
int fs_tree_mkdir(struct fs_tree *t, const char *path);
/** fs_tree_link() - a symbolic link, in place of what was there, in one step */
int fs_tree_link(struct fs_tree *t, const char *path, const char *target);
/** fs_tree_set() - mode and, with SSH_ATTR_TIMES, times of a folder */
int fs_tree_set(struct fs_tree *t, const char *path, const struct ssh_attr *a);

/* A file on its way: "NAME.nefia-SOURCE.part" beside its place, and into that in one step when it is whole. */
struct fs_out {
	int dir, fd;
	uint64_t size;          /* of what is there */
	char name[NAME_MAX + 1], temp[NAME_MAX + 1];
};

/**
 * fs_out_begin() - below @t
 * @source: what identifies the far file; with @resume what is there of it is kept, and @o->size tells how much; without, the
 *          name is drawn at random
 */
int fs_out_begin(struct fs_out *o, struct fs_tree *t, const char *path, uint64_t source, bool resume);
/** fs_out_write() - at a rising offset; zeros in whole blocks are left out, so that sparse files stay small */
int fs_out_write(struct fs_out *o, uint64_t offset, struct bytes data);
/** fs_out_restart() - nothing of what is there is used */
int fs_out_restart(struct fs_out *o);
/** fs_out_equals() - is @data what stands at @offset? */
bool fs_out_equals(struct fs_out *o, uint64_t offset, struct bytes data);
/** fs_out_finish() - into its place, @size bytes long, with mode and (SSH_ATTR_TIMES) times; @sync: on the disk before, its name behind */
int fs_out_finish(struct fs_out *o, uint64_t size, const struct ssh_attr *a, bool sync);
/** fs_out_abort() - @keep: what is there stays for the next time */
void fs_out_abort(struct fs_out *o, bool keep);

#endif

/* operator/fs_get_internal.h - what the files of `nefia fs get` share: fs_get.c, fs_get_file.c, fs_get_tree.c. */
#ifndef OPERATOR_FS_GET_INTERNAL_H
#define OPERATOR_FS_GET_INTERNAL_H

#include <limits.h>

#include "operator/fs_copy.h"
#include "operator/fs_format.h"
#include "operator/fs_local.h"

struct folder {
	char *path;
	struct ssh_attr attr;
};

struct getting {
	struct fs_copy c;
	struct fs_tree tree;
	char shown_root[PATH_MAX]; /* the local folder, for messages */
	char rename[NAME_MAX + 1]; /* the one source gets this name; "": each keeps its own */
	struct folder *folders;
	size_t n_folders, cap_folders;
	unsigned n_scans;          /* operands and folders that are still looked at: the totals are not whole */
	mode_t umask;
};

/* The links to folders that the way has come through: the real paths of the folders that they stand in. */
struct trail {
	unsigned refs;
	struct trail *up;
	char *real;
};

struct get_job {
	struct fs_job job;
	char *remote, *local; /* @local below the tree */
	struct ssh_attr attr;
	struct trail *trail;
	/* a file */
	struct fs_out out;
	uint64_t verify_to, counted; /* bytes below it are compared; bytes of it in progress.done */
	bool began, differs;
	/* a link */
	char *target;
};

/* An operand; a file; what is in a folder; a link; where a link leads. */
extern const struct fs_job_type fs_get_look, fs_get_file, fs_get_find, fs_get_link, fs_get_follow;

static inline struct getting *getting_of(struct get_job *g)
{
	return container_of(g->job.c, struct getting, c);
}

static inline struct get_job *job_of(struct fs_job *j)
{
	return container_of(j, struct get_job, job);
}

static inline uint64_t fs_get_size(const struct ssh_attr *a)
{
	return a->which & SSH_ATTR_SIZE ? a->size : 0;
}

static inline bool fs_get_is_type(const struct ssh_attr *a, uint32_t type)
{
	return a->which & SSH_ATTR_MODE && (a->mode & FS_TYPE_MASK) == type;
}

/* ---- fs_get.c ---- */
/** fs_get_add() - a job of @type; copies what it is given. Return: NULL without memory, which was said */
struct get_job *fs_get_add(struct getting *x, const struct fs_job_type *type, const char *remote, const char *local,
			   const struct ssh_attr *a, struct trail *trail);
void fs_get_free(struct fs_job *j);
/** fs_get_shown() - its place here, for messages */
const char *fs_get_shown(struct get_job *g, char buf[2 * PATH_MAX]);
/** fs_get_fail_local(), fs_get_fail_remote() - say and report why, and end */
void fs_get_fail_local(struct get_job *g, int errnum);
void fs_get_fail_remote(struct get_job *g, const struct fs_event *ev);
/** fs_get_ask() - one question about its path there; when it cannot be asked now, the job waits again */
void fs_get_ask(struct fs_job *j, enum ssh_op op);
/** fs_get_take_target() - the answer to REALPATH, for which @target stands empty */
void fs_get_take_target(struct get_job *g, const struct fs_event *ev);
/** fs_get_set_attr() - with --no-preserve others get what the person's umask leaves, not the far file's own mode */
void fs_get_set_attr(const struct getting *x, struct ssh_attr *a, bool dir);

/* ---- fs_get_tree.c ---- */
struct trail *fs_get_trail_ref(struct trail *t);
void fs_get_trail_unref(struct trail *t);

#endif

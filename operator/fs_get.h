/* operator/fs_get.h - copying from a host (fs_get.c) and to one (fs_put.c). */
#ifndef OPERATOR_FS_GET_H
#define OPERATOR_FS_GET_H

#include "operator/fs_copy.h"

/** fs_get() - @sources HOST:PATH to @local. Return: exit status */
int fs_get(struct cli *cli, const struct copy_flags *flags, int n, char **sources, const char *local);
/** fs_put() - local @sources to @target HOST:PATH. Return: exit status */
int fs_put(struct cli *cli, const struct copy_flags *flags, int n, char **sources, const char *target);

#endif

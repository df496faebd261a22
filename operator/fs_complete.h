/* operator/fs_complete.h - what can stand in place of a path at a host that is being typed. */
#ifndef OPERATOR_FS_COMPLETE_H
#define OPERATOR_FS_COMPLETE_H

#include "base/types.h"

struct cli;

/**
 * fs_complete() - print what the word @word ("HOST:DIR/NAM") can go on as, one a line; folders end in a slash
 * @quoted:  it is as a shell has it, with backslashes, and so are the lines; else both are plain
 * @literal: the command takes names as they are; else what would be a pattern is escaped for it
 *
 * Asks a hub that runs, for a moment and no longer. Prints nothing where that fails.
 * Return: false: @word is no path at a host.
 */
bool fs_complete(struct cli *cli, const char *word, bool quoted, bool literal);

#endif

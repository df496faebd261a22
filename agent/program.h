/* agent/program.h - other programs of this machine that the agent asks: ssh-keyscan, systemctl. */
#ifndef AGENT_PROGRAM_H
#define AGENT_PROGRAM_H

#include <stddef.h>

/**
 * agent_program_run() - run @argv, found in PATH, and wait for it
 * @buf: gets the first @size - 1 bytes of its standard output; NULL: dropped, as its standard error is
 * Return: its exit status; -1 when it did not run or was killed.
 */
int agent_program_run(char *const argv[], char *buf, size_t size);

#endif

/* operator/askpass.h - secrets that a person types at the terminal: never echoed, never logged. */
#ifndef OPERATOR_ASKPASS_H
#define OPERATOR_ASKPASS_H

#include "base/types.h"
#include "ssh/frame.h"

/** askpass_forbid() - from now on nobody is asked anything (--batch) */
void askpass_forbid(void);
/** askpass_possible() - is there a terminal, and may it be used? */
bool askpass_possible(void);
/**
 * askpass_read() - show @prompt on the terminal and read a line without its end
 * A signal that comes meanwhile is seen to after the terminal is as it was. Return: false: nothing was typed, or none is there.
 */
bool askpass_read(const char *prompt, char *ret, size_t size);
/**
 * askpass_key() - the passphrase of the key at @path
 * @n_wrong: so many answers were wrong for whoever asks; when fewer than the person has given, the last one is given again
 * Return: NULL: nobody is there, or the person does not say it.
 */
const char *askpass_key(const char *path, unsigned n_wrong);

#endif

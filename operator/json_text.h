/* operator/json_text.h - what commands print with --json: JSON that a terminal may show too. */
#ifndef OPERATOR_JSON_TEXT_H
#define OPERATOR_JSON_TEXT_H

#include <jansson.h>

/**
 * json_text() - @o as by json_dumps(), with control characters (also DEL and those of Latin-1) and those that turn the direction
 *               of a line as \u escapes; whoever reads JSON gets the same text
 * Return: to be freed; NULL without memory
 */
char *json_text(const json_t *o, size_t flags);
/** json_text_print() - on standard output, a line's end behind it. Return: 0; -1 when it could not be made or written */
int json_text_print(const json_t *o, size_t flags);

#endif

/* What the commands of fairway kv share. */
#ifndef CMD_KV_H
#define CMD_KV_H

#include "cli.h"

cJSON *kv_json_pair(const fw_kv_pair *pair);
/* The bytes, with a line end if they have none. */
void kv_print_value_line(const fw_kv_pair *pair);
/* The operand itself, or all of standard input if it is "-"; *ret_memory (NULL or to be freed)
 * holds it. Errors are printed. Exit code or -1. */
int kv_read_value(const char *operand, fw_slice *ret_value, char **ret_memory);

#endif

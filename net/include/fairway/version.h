/* Version of fairway: the one place where it is written. */
#ifndef FAIRWAY_VERSION_H
#define FAIRWAY_VERSION_H

#define FW_VERSION_MAJOR          0
#define FW_VERSION_MINOR          1
#define FW_VERSION_PATCH          0

#define FW_VERSION_TEXT_(a, b, c) #a "." #b "." #c
#define FW_VERSION_TEXT(a, b, c)  FW_VERSION_TEXT_(a, b, c)
/* "0.1.0". Releases with the same minor version are ABI compatible until 1.0. */
#define FW_VERSION FW_VERSION_TEXT(FW_VERSION_MAJOR, FW_VERSION_MINOR, FW_VERSION_PATCH)

#endif

/*
 * The bytes of gRPC's messages.
 *
 * A message is sent, and was received, by whichever of gRPC's threads had the turn, and
 * ThreadSanitizer cannot see how it comes to that thread and from there. It would suppress a report
 * for each eight bytes, slowly, or not suppress it where it has forgotten gRPC's stack: so it is
 * told to look away while the bytes are written, and while what was received is copied, which is
 * done for its sake only.
 */
#ifndef FWI_GRPC_MESSAGE_H
#define FWI_GRPC_MESSAGE_H

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define WRITES_UNSEEN_BEGIN() AnnotateIgnoreWritesBegin(__FILE__, __LINE__)
#define WRITES_UNSEEN_END()   AnnotateIgnoreWritesEnd(__FILE__, __LINE__)
#else
#define WRITES_UNSEEN_BEGIN() ((void)0)
#define WRITES_UNSEEN_END()   ((void)0)
#endif

/* A received message (NULL: none) as one piece, to be unreferenced; it lives at least as long as
 * the buffer. */
grpc_slice fwi_grpc_message_read(grpc_byte_buffer *buffer);

#endif

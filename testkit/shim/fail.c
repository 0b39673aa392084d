/*
 * One system call of the process that preloads this fails, as on a disk that is full or broken, or the process is killed
 * right before it.
 *
 *   FAIL_CALL   "write" (write, pwrite, pwrite64) or "fsync" (fsync, fdatasync)
 *   FAIL_PATH   what the path of the descriptor has to contain; other descriptors are left alone
 *   FAIL_NTH    which of those calls fails, from 1; the others, before and after, work
 *   FAIL_ERRNO  the error's number; 0 kills the process instead
 *   FAIL_ARM    a file without which no call is counted, so that a test can let the process start first; optional
 *   FAIL_MARK   a file that is made when the call has failed, so that a test knows that it did
 *
 *   BOOT_ID     a file that is opened in place of /proc/sys/kernel/random/boot_id, as if the machine had started again;
 *               needs none of the others
 *
 * Only calls that go through the C library can be failed: those of Rust's std::fs::File and of SQLite. What cap-std and
 * rustix do (rename, and the sync of the folder after it) are system calls of their own that nothing can get between, so
 * those are not here; the power cut covers them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#undef pwrite64
#undef open64

static int fails(const char *call, int fd)
{
	static long count;
	const char *wanted = getenv("FAIL_CALL"), *part = getenv("FAIL_PATH"), *mark = getenv("FAIL_MARK");
	const char *nth = getenv("FAIL_NTH"), *number = getenv("FAIL_ERRNO"), *arm = getenv("FAIL_ARM");
	char link[64], path[4096];
	int before = errno, file;
	ssize_t length;

	if (!wanted || !part || !mark || !nth || !number || strcmp(call, wanted) != 0)
		return 0;
	if (arm && access(arm, F_OK) != 0) {
		errno = before;
		return 0;
	}
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	errno = before;
	if (length < 0)
		return 0;
	path[length] = 0;
	if (!strstr(path, part) || __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) != atol(nth))
		return 0;
	file = open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (file >= 0)
		close(file);
	if (atoi(number) == 0)
		kill(getpid(), SIGKILL);
	errno = atoi(number);
	return 1;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
	return fails("write", fd) ? -1 : next(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
	ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
	return fails("write", fd) ? -1 : next(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at)
{
	ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
	return fails("write", fd) ? -1 : next(fd, bytes, size, at);
}

int fsync(int fd)
{
	int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
	return fails("fsync", fd) ? -1 : next(fd);
}

int fdatasync(int fd)
{
	int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
	return fails("fsync", fd) ? -1 : next(fd);
}

int open64(const char *path, int flags, ...)
{
	int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
	const char *other = getenv("BOOT_ID");
	mode_t mode = 0;
	va_list list;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(list, flags);
		mode = va_arg(list, mode_t);
		va_end(list);
	}
	if (other && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		path = other;
	return next(path, flags, mode);
}

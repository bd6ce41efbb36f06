/* CUDA's runtime and driver for a machine without a GPU: torch finds one device, and nothing is ever executed on it.
 *
 * Preloaded into Python, it answers what torch asks before the first kernel: how many devices, which, their
 * properties, streams and events. Kernels never come here, since the tests compute them on the CPU; allocations,
 * launches and copies fail, so that a tensor which the tests missed is an error and not a silent zero.
 */
#include <driver_types.h>
#include <stddef.h>
#include <string.h>

#define OK 0
#define NOT_SUPPORTED 801
#define SUCCEEDS(name) int name(void) { return OK; }
#define FAILS(name) int name(void) { return NOT_SUPPORTED; }
#define WRITES(name, type, value) int name(type *out) { *out = (value); return OK; }

/* Devices. */
WRITES(cudaGetDeviceCount, int, 1)
WRITES(cudaGetDevice, int, 0)
WRITES(cudaDriverGetVersion, int, 99000)
WRITES(cudaRuntimeGetVersion, int, 99000)
WRITES(cuDriverGetVersion, int, 99000)
WRITES(cuDeviceGetCount, int, 1)
WRITES(cuDeviceGet, int, 0)
WRITES(cuCtxGetCurrent, void *, NULL)
SUCCEEDS(cuInit)
SUCCEEDS(cudaSetDevice)
SUCCEEDS(cudaGetLastError)
SUCCEEDS(cudaPeekAtLastError)
int cudaMemGetInfo(size_t *available, size_t *total) { *total = 80ul << 30, *available = 70ul << 30; return OK; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0, *greatest = -1; return OK; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0, *active = 0; return OK; }

int cudaGetDeviceProperties(struct cudaDeviceProp *found, int device) {
    memset(found, 0, sizeof *found);
    strcpy(found->name, "Pretended GPU");
    found->major = 9, found->minor = 0;
    found->totalGlobalMem = 80ul << 30;
    found->multiProcessorCount = 132, found->warpSize = 32;
    found->maxThreadsPerBlock = 1024, found->maxThreadsPerMultiProcessor = 2048;
    found->sharedMemPerBlock = 48 << 10, found->sharedMemPerBlockOptin = 227 << 10;
    found->sharedMemPerMultiprocessor = 228 << 10;
    found->regsPerBlock = found->regsPerMultiprocessor = 1 << 16;
    found->l2CacheSize = 50 << 20;
    return OK;
}
int cudaGetDeviceProperties_v2(struct cudaDeviceProp *found, int device) { return cudaGetDeviceProperties(found, device); }

/* Streams and events; waiting is at an end at once. */
int cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { *stream = (void *)16; return OK; }
int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return OK; }
int cudaStreamGetCaptureInfo(void *stream, int *status) { *status = 0; return OK; }
int cudaEventCreateWithFlags(void **event, unsigned flags) { *event = (void *)32; return OK; }
SUCCEEDS(cudaEventRecord)
SUCCEEDS(cudaEventRecordWithFlags)
SUCCEEDS(cudaEventQuery)
SUCCEEDS(cudaEventDestroy)
SUCCEEDS(cudaEventSynchronize)
SUCCEEDS(cudaStreamQuery)
SUCCEEDS(cudaStreamWaitEvent)
SUCCEEDS(cudaStreamSynchronize)
SUCCEEDS(cudaDeviceSynchronize)
SUCCEEDS(cudaThreadExchangeStreamCaptureMode)

/* What would need a GPU. */
FAILS(cudaMalloc)
FAILS(cudaHostAlloc)
FAILS(cudaMemcpyAsync)
FAILS(cudaLaunchKernel)
FAILS(cudaLaunchKernelExC)
FAILS(cudaGetDriverEntryPoint)
FAILS(cudaGetDriverEntryPointByVersion)
FAILS(cuGetProcAddress)
FAILS(cuGetProcAddress_v2)


/* What a compiler asks of a GPU: compute capability, multiprocessors, shared memory. */
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 10: *value = 32; return OK;          /* warp size */
    case 16: *value = 132; return OK;         /* multiprocessors */
    case 75: *value = 9; return OK;           /* compute capability */
    case 76: *value = 0; return OK;
    default: *value = 227 << 10; return OK;
    }
}
int cudaDeviceGetAttribute(int *value, int attribute, int device) { return cuDeviceGetAttribute(value, attribute, device); }

/* What Triton's launcher of kernels is linked with; not called, since nothing is launched. */
WRITES(cuCtxGetDevice, int, 0)
FAILS(cuCtxGetLimit)
FAILS(cuCtxSetCurrent)
FAILS(cuCtxSetLimit)
FAILS(cuDevicePrimaryCtxRetain)
FAILS(cuFuncGetAttribute)
FAILS(cuFuncSetAttribute)
FAILS(cuFuncSetCacheConfig)
FAILS(cuGetErrorString)
FAILS(cuModuleGetFunction)
FAILS(cuModuleLoadData)
FAILS(cuModuleUnload)
FAILS(cuPointerGetAttribute)
FAILS(cuStreamIsCapturing)

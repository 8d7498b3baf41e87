// SPDX-License-Identifier: GPL-2.0

//! Mappings of regular files: page faults, and the writeback of dirty pages.
//!
//! Reference: [`fs/dax.c`](srctree/fs/dax.c)

use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};

use kernel::{
    error::from_result,
    prelude::*, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        PageRange, //
    },
};

use super::{
    invalidate::Dirty,
    iomap,
    lock::{
        InvalidateLock,
        SharedInvalidateLock, //
    },
    FileSystem,
    Inode, //
};

/// The errors of a page fault. `VM_FAULT_FALLBACK` is not an error: `dax_iomap_fault()` returns it
/// for a huge page that cannot be mapped, and the kernel then maps a small page.
///
/// C: `VM_FAULT_ERROR`
const FAULT_ERRORS: bindings::vm_fault_t = bindings::vm_fault_reason_VM_FAULT_OOM
    | bindings::vm_fault_reason_VM_FAULT_SIGBUS
    | bindings::vm_fault_reason_VM_FAULT_SIGSEGV
    | bindings::vm_fault_reason_VM_FAULT_HWPOISON
    | bindings::vm_fault_reason_VM_FAULT_HWPOISON_LARGE;

/// Freeze protection for a page fault that writes. A freeze of the superblock waits for its end.
///
/// # Invariants
///
/// `self.0` is a valid superblock, and this thread has called `sb_start_pagefault()` for it.
///
/// C: `sb_start_pagefault()`
struct FaultWrite(*mut bindings::super_block);

impl Drop for FaultWrite {
    fn drop(&mut self) {
        // SAFETY: `self.0` is valid, and this thread has called `sb_start_pagefault()`, by the type
        // invariants.
        unsafe { bindings::sb_end_pagefault(self.0) };
    }
}

/// A page fault of a file.
///
/// # Invariants
///
/// `vmf` is a page fault of a mapping of a file, valid for as long as `self` exists. The inode of
/// the file is of a superblock of type `T`.
struct Fault<T: FileSystem> {
    vmf: *mut bindings::vm_fault,
    /// The binary logarithm of the number of pages to map.
    order: u32,
    _inode: PhantomData<T>,
}

impl<T: FileSystem> Fault<T> {
    fn file(&self) -> *mut bindings::file {
        // SAFETY: `vmf` is valid by the type invariants. The VMA keeps its file open.
        unsafe { (*(*self.vmf).__bindgen_anon_1.vma).vm_file }
    }

    fn inode(&self) -> &Inode<T> {
        // SAFETY: The file is open while it is mapped, and its inode is of type `T` by the type
        // invariants.
        unsafe { Inode::of_file(self.file()) }
    }

    /// Whether the fault writes to the file, and not only to a private copy of a page.
    fn writes(&self) -> bool {
        // SAFETY: `vmf` is valid by the type invariants. The kernel has locked the VMA, or the
        // whole address space, until the end of the fault, so the flags do not change.
        let (flags, vm_flags) = unsafe {
            let vma = (*self.vmf).__bindgen_anon_1.vma;

            ((*self.vmf).flags, (*vma).__bindgen_anon_2.vm_flags)
        };

        flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0 && vm_flags & bindings::VM_SHARED != 0
    }

    /// The bytes of the file that the fault maps. Returns [`None`] if they are beyond the largest
    /// file offset.
    fn range(&self) -> Option<ByteRange<space::File>> {
        // SAFETY: `vmf` is valid by the type invariants.
        let index = unsafe { (*self.vmf).__bindgen_anon_1.pgoff } as u64;
        let count = 1_u64.checked_shl(self.order)?;

        PageRange::new(index & !count.checked_sub(1)?, count)?.bytes()
    }

    /// Maps the page. Takes the lock of shared pages only if the page is shared. Also returns
    /// whether a copy of the page was lost: it can be mapped, but the file is at its old place.
    fn map(&self, invalidate_lock: &SharedInvalidateLock<'_>) -> (bindings::vm_fault_t, bool) {
        let mut pfn = MaybeUninit::uninit();
        let (answer, errno) =
            self.map_by(&iomap::VTable::<T>::UNSHARED_OPS, &mut pfn, invalidate_lock);
        let (answer, is_copy_lost) = match errno == EDEADLK.to_errno() {
            true => self.map_shared(&mut pfn, invalidate_lock),
            false => (answer, false),
        };

        if is_copy_lost || answer & bindings::vm_fault_reason_VM_FAULT_NEEDDSYNC == 0 {
            return (answer, is_copy_lost);
        }
        // SAFETY: `vmf` is valid by the type invariants. `dax_iomap_fault()` has set `pfn`, because
        // it returned `VM_FAULT_NEEDDSYNC`.
        let answer =
            unsafe { bindings::dax_finish_sync_fault(self.vmf, self.order, pfn.assume_init()) };

        (answer, false)
    }

    /// Maps a page that several files share. For a write, the page is copied. Also returns whether
    /// the copy was lost.
    #[cold]
    fn map_shared(
        &self,
        pfn: &mut MaybeUninit<c_ulong>,
        invalidate_lock: &SharedInvalidateLock<'_>,
    ) -> (bindings::vm_fault_t, bool) {
        let map = || {
            self.map_by(&iomap::VTable::<T>::OPS, pfn, invalidate_lock)
                .0
        };

        self.inode().super_block().shared_pages().with_fault(map)
    }

    /// Maps the page by `operations`. Also returns the errno of `operations`. If the result is
    /// `VM_FAULT_NEEDDSYNC`, sets `pfn`, and the caller maps the page.
    #[inline(always)]
    fn map_by(
        &self,
        operations: &'static bindings::iomap_ops,
        pfn: &mut MaybeUninit<c_ulong>,
        _invalidate_lock: &SharedInvalidateLock<'_>,
    ) -> (bindings::vm_fault_t, c_int) {
        let mut errno = 0;

        // SAFETY: `vmf` is valid by the type invariants.
        let answer = unsafe {
            bindings::dax_iomap_fault(
                self.vmf,
                self.order,
                pfn.as_mut_ptr(),
                &mut errno,
                operations,
            )
        };

        (answer, errno)
    }

    fn read(&self) -> bindings::vm_fault_t {
        self.map(&SharedInvalidateLock::new(self.inode())).0
    }

    fn write(&self) -> bindings::vm_fault_t {
        let super_block = self.inode().super_block().as_raw();

        // SAFETY: The inode of an open file is valid, so its superblock is valid.
        unsafe { bindings::sb_start_pagefault(super_block) };
        // INVARIANT: `sb_start_pagefault()` was just called.
        let _write = FaultWrite(super_block);

        // Ignore an error of the update, as other filesystems do.
        //
        // SAFETY: The file is open while it is mapped.
        unsafe { bindings::file_update_time(self.file()) };

        let (answer, is_copy_lost) = self.map(&SharedInvalidateLock::new(self.inode()));

        if is_copy_lost {
            return self.discard_copy(answer);
        }
        if answer & FAULT_ERRORS != 0 {
            self.invalidate(Dirty::WriteBack);
        }
        answer
    }

    /// Unmaps a copy of a page that was lost. Returns the error of the page fault.
    #[cold]
    fn discard_copy(&self, answer: bindings::vm_fault_t) -> bindings::vm_fault_t {
        if answer & FAULT_ERRORS != 0 {
            self.invalidate(Dirty::Discard);
            return answer;
        }

        // The copy was mapped, and another thread can have stored to it. So `fsync()` returns an
        // error both before the copy is unmapped and afterwards.
        self.inode().set_write_error();
        self.invalidate(Dirty::Discard);
        self.inode().set_write_error();
        bindings::vm_fault_reason_VM_FAULT_SIGBUS
    }

    /// Removes the entry of the page from the mapping. After a failed copy, the entry has the new
    /// place, but the file is still at the old place.
    fn invalidate(&self, dirty: Dirty) {
        let Some(range) = self.range() else {
            return;
        };
        let invalidate_lock = InvalidateLock::new(self.inode());

        // A page that is in use is the page at the old place, whose entry can stay: only between
        // the copy and its end could another user find the page at the new place.
        let _ = self.inode().try_unmap(range, dirty, &invalidate_lock);

        // Another page fault can have copied the page meanwhile. Its entry was discarded, too.
        if dirty == Dirty::Discard {
            self.inode().write_back_unmapped(range, &invalidate_lock);
        }
    }
}

/// The operations of mappings.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the kernel's memory management only, for a mapping with this table.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The memory management passes a valid page fault of a mapping with this table.
        unsafe { Self::huge_fault(vmf, 0) }
    }

    /// # Safety
    ///
    /// Called by the kernel's memory management only, for a mapping with this table.
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: c_uint,
    ) -> bindings::vm_fault_t {
        // INVARIANT: The memory management passes a valid page fault. Only files of type `T` have
        // this table.
        let fault = Fault::<T> {
            vmf,
            order,
            _inode: PhantomData,
        };

        match fault.writes() {
            true => fault.write(),
            false => fault.read(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel's memory management only, for a mapping with this table.
    unsafe extern "C" fn mkwrite(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // INVARIANT: The memory management passes a valid page fault. Only files of type `T` have
        // this table.
        Fault::<T> {
            vmf,
            order: 0,
            _inode: PhantomData,
        }
        .write()
    }

    /// Maps no pages around the faulting one. Without this function, the kernel would take the lock
    /// of the address space for each fault. With this function, the lock of the VMA is enough.
    ///
    /// # Safety
    ///
    /// Called by the kernel's memory management only.
    unsafe extern "C" fn map_pages(
        _vmf: *mut bindings::vm_fault,
        _start: c_ulong,
        _end: c_ulong,
    ) -> bindings::vm_fault_t {
        0
    }

    /// # Safety
    ///
    /// Called by the VFS only, to map a file with this table.
    pub(super) unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        from_result(|| {
            // SAFETY: The VFS passes a valid `desc`.
            let file = unsafe { (*desc).file };
            // SAFETY: The VFS passes an open file. Only files of type `T` have this table.
            let inode = unsafe { Inode::<T>::of_file(file) };
            let device = inode.super_block().devices().dax();

            // SAFETY: `desc`, the inode and the DAX device are valid.
            if !unsafe { bindings::daxdev_mapping_supported(desc, inode.as_raw(), device.as_raw()) }
            {
                return Err(EOPNOTSUPP);
            }

            // SAFETY: The file is open. The callback may change `desc`, and the operations are
            // static.
            unsafe {
                bindings::file_accessed(file);
                (*desc).vm_ops = &Self::OPS;
                bindings::vma_desc_set_hugepage(desc);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel's writeback only, for the mapping of an inode of type `T`.
    pub(super) unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        control: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: The writeback passes the mapping of a valid inode of type `T`.
        let inode = unsafe { Inode::<T>::from_raw((*mapping).host) };
        let device = inode.super_block().devices().dax();

        // The kernel can still record a failed page as dirty. The writeback of the page would
        // access memory that the kernel has removed from its linear map after a machine check.
        if inode.has_failed_pages()
            && !InvalidateLock::try_new(inode)
                .is_some_and(|invalidate_lock| inode.invalidate_failed(&invalidate_lock))
        {
            return EIO.to_errno();
        }

        // SAFETY: The writeback passes a valid mapping and control, and the DAX device is valid.
        unsafe { bindings::dax_writeback_mapping_range(mapping, device.as_raw(), control) }
    }

    /// The operations of a mapping.
    const OPS: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        huge_fault: Some(Self::huge_fault),
        map_pages: Some(Self::map_pages),
        page_mkwrite: Some(Self::mkwrite),
        pfn_mkwrite: Some(Self::mkwrite),
        ..pin_init::zeroed()
    };
}

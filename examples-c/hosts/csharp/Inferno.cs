// Inferno for C#: P/Invoke over inferno.h, the way a Unity project would carry it. Copy this file into
// Assets/ and libinferno.so into Assets/Plugins/x86_64/. It needs C# 7 and `unsafe`, and nothing else.
//
// Structs are those of inferno.h 0.1; Inferno's own *_init functions fill them and say when they do not
// fit. Handles are SafeHandles: a session is ended by Dispose, or at the latest by its finalizer, on any
// thread and in any order, after the shutdown too: a handle that is stale is told so. Runs and views
// allocate nothing.

using System;
using System.Runtime.InteropServices;
using System.Text;

namespace Inferno
{
    public enum Status
    {
        Ok = 0, InvalidArgument = 1, InvalidHandle = 2, Busy = 3, NotFound = 4, IO = 5, InvalidModel = 6,
        Unsupported = 7, DTypeMismatch = 8, ShapeMismatch = 9, SizeMismatch = 10, NotReady = 11,
        OutOfMemory = 12, LimitExceeded = 13, RunFailed = 14, Internal = 15, DeadlineExceeded = 16,
        OutOfBudget = 17,
    }

    public sealed class InfernoException : Exception
    {
        public Status Status { get; }

        internal InfernoException(Status status, string text) : base(status + ": " + text)
        {
            Status = status;
        }
    }

    // inferno_tensor, which never grows.
    [StructLayout(LayoutKind.Sequential)]
    public unsafe struct Tensor
    {
        public const int F32 = 1;
        public int DType;
        public int Rank;
        public fixed long Dims[8];
        public void* Data;
        public UIntPtr SizeBytes;
    }

    // inferno_symbol_value
    [StructLayout(LayoutKind.Sequential)]
    unsafe struct SymbolValue
    {
        public byte* Symbol;
        public long Value;
    }

    // inferno_session_options
    [StructLayout(LayoutKind.Sequential)]
    unsafe struct SessionOptions
    {
        public UIntPtr StructSize;
        public SymbolValue* Symbols;
        public UIntPtr SymbolCount;
        public void* Shapes;
        public UIntPtr ShapeCount;
        public void* Constants;
        public UIntPtr ConstantCount;
        public void* States;
        public UIntPtr StateCount;
        public ulong SoftBudgetBytes;
        public ulong HardBudgetBytes;
        public uint Threads;
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate void LogCallback(IntPtr userData, int level, IntPtr module, IntPtr message);

    static unsafe class Native
    {
        const string Library = "inferno"; // libinferno.so; in a Unity player for iOS "__Internal"

        [DllImport(Library)] public static extern IntPtr inferno_last_error();
        [DllImport(Library)] public static extern IntPtr inferno_version_string();
        [DllImport(Library)] public static extern Status inferno_init(IntPtr options);
        [DllImport(Library)] public static extern Status inferno_shutdown();
        [DllImport(Library)] public static extern Status inferno_log_set_callback(LogCallback callback, IntPtr userData, int level);
        [DllImport(Library)] public static extern Status inferno_model_load(byte[] path, IntPtr options, out ModelHandle model);
        [DllImport(Library)] public static extern Status inferno_model_load_memory(byte* data, UIntPtr size, IntPtr options, out ModelHandle model);
        [DllImport(Library)] public static extern Status inferno_model_free(IntPtr model);
        [DllImport(Library)] public static extern Status inferno_session_options_init(out SessionOptions options, UIntPtr size);
        [DllImport(Library)] public static extern Status inferno_session_new(ModelHandle model, ref SessionOptions options, out SessionHandle session);
        [DllImport(Library)] public static extern Status inferno_session_free(IntPtr session);
        [DllImport(Library)] public static extern Status inferno_session_input(SessionHandle session, UIntPtr index, out Tensor tensor);
        [DllImport(Library)] public static extern Status inferno_session_output(SessionHandle session, UIntPtr index, out Tensor tensor);
        [DllImport(Library)] public static extern Status inferno_session_run(SessionHandle session, IntPtr options);

        public static void Check(Status status)
        {
            if (status != Status.Ok) throw new InfernoException(status, Text(inferno_last_error()));
        }

        // UTF-8, with its NUL.
        public static byte[] Bytes(string text)
        {
            return Encoding.UTF8.GetBytes(text + "\0");
        }

        public static string Text(IntPtr text)
        {
            int length = 0;
            while (Marshal.ReadByte(text, length) != 0) length++;
            return Encoding.UTF8.GetString((byte*)text, length);
        }
    }

    public sealed class ModelHandle : SafeHandle
    {
        public ModelHandle() : base(IntPtr.Zero, true) { }
        public override bool IsInvalid => handle == IntPtr.Zero;
        protected override bool ReleaseHandle() { return Native.inferno_model_free(handle) == Status.Ok; }
    }

    public sealed class SessionHandle : SafeHandle
    {
        public SessionHandle() : base(IntPtr.Zero, true) { }
        public override bool IsInvalid => handle == IntPtr.Zero;
        protected override bool ReleaseHandle() { return Native.inferno_session_free(handle) == Status.Ok; }
    }

    // One user of the library: the last one to be disposed of ends all that it holds.
    public sealed class Runtime : IDisposable
    {
        // Log lines come from any thread. The delegate must live as long as it may be called, and be
        // static with this attribute for Unity's IL2CPP.
        static readonly LogCallback callback = OnLog;
        static Action<int, string> sink;
        bool isEnded;

        public Runtime()
        {
            Native.Check(Native.inferno_init(IntPtr.Zero));
        }

        public static string Version => Native.Text(Native.inferno_version_string());

        // Level 0 is nothing, 1 errors, 2 warnings, 3 information, 4 and 5 more.
        public static void SetLog(int level, Action<int, string> lines)
        {
            sink = lines;
            Native.Check(Native.inferno_log_set_callback(lines == null ? null : callback, IntPtr.Zero, level));
        }

        [MonoPInvokeCallback(typeof(LogCallback))]
        static void OnLog(IntPtr userData, int level, IntPtr module, IntPtr message)
        {
            try { sink?.Invoke(level, Native.Text(module) + ": " + Native.Text(message)); }
            catch (Exception) { } // none may leave a callback
        }

        public void Dispose()
        {
            if (isEnded) return;
            isEnded = true;
            Native.Check(Native.inferno_shutdown());
        }
    }

    // Unity has it in AOT; compilers ahead of time look for it by name.
    [AttributeUsage(AttributeTargets.Method)]
    sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        public MonoPInvokeCallbackAttribute(Type type) { }
    }

    // A model, and sessions over it. It may be disposed of before its sessions.
    public sealed class Model : IDisposable
    {
        internal readonly ModelHandle Handle;

        Model(ModelHandle handle) { Handle = handle; }

        public static Model Load(string path)
        {
            Native.Check(Native.inferno_model_load(Native.Bytes(path), IntPtr.Zero, out ModelHandle handle));
            return new Model(handle);
        }

        // Bytes of a TextAsset, an asset bundle, a download.
        public static unsafe Model Load(byte[] bytes)
        {
            fixed (byte* data = bytes)
            {
                Native.Check(Native.inferno_model_load_memory(data, (UIntPtr)bytes.Length, IntPtr.Zero, out ModelHandle handle));
                return new Model(handle);
            }
        }

        public void Dispose() { Handle.Dispose(); }
    }

    // One context to run a model in. One thread at a time; another is answered Busy.
    public sealed unsafe class Session : IDisposable
    {
        readonly SessionHandle handle;

        // `symbol` is the name of an open dim of the model, such as "batch".
        public Session(Model model, string symbol, long value)
        {
            Native.Check(Native.inferno_session_options_init(out SessionOptions options, (UIntPtr)sizeof(SessionOptions)));
            fixed (byte* name = Native.Bytes(symbol))
            {
                SymbolValue given = new SymbolValue { Symbol = name, Value = value };
                options.Symbols = &given;
                options.SymbolCount = (UIntPtr)1;
                Native.Check(Native.inferno_session_new(model.Handle, ref options, out handle));
            }
        }

        // Memory of the session's: write to it; it stays where it is. In Unity, wrap it with
        // NativeArrayUnsafeUtility.ConvertExistingDataToNativeArray, and jobs may fill it.
        public float* Input(int index, out int count)
        {
            Native.Check(Native.inferno_session_input(handle, (UIntPtr)index, out Tensor tensor));
            return Floats(ref tensor, out count);
        }

        // Memory of the session's, until the next run.
        public float* Output(int index, out int count)
        {
            Native.Check(Native.inferno_session_output(handle, (UIntPtr)index, out Tensor tensor));
            return Floats(ref tensor, out count);
        }

        public void Run()
        {
            Native.Check(Native.inferno_session_run(handle, IntPtr.Zero));
        }

        // For a frame that must not throw.
        public Status TryRun()
        {
            return Native.inferno_session_run(handle, IntPtr.Zero);
        }

        static float* Floats(ref Tensor tensor, out int count)
        {
            if (tensor.DType != Tensor.F32) throw new InfernoException(Status.DTypeMismatch, "the tensor is not of floats");
            count = (int)((ulong)tensor.SizeBytes / sizeof(float));
            return (float*)tensor.Data;
        }

        public void Dispose() { handle.Dispose(); }
    }
}

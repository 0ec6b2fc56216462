// What .NET makes of the generated bindings: sizes and offsets, and a run of the built-in model.
//
//   mono Check.exe layout     prints the layout of every struct
//   mono Check.exe run        classifies a blank image; the library is found by its name

using System;
using System.Reflection;
using System.Runtime.InteropServices;
using InfernoAbi;

public static unsafe class Check
{
    private static void Layout()
    {
        foreach (Type type in typeof(inferno_tensor).Assembly.GetTypes())
        {
            if (type.Namespace != "InfernoAbi" || !type.IsValueType || type.IsEnum || type.IsNested) continue;
            Console.WriteLine("struct {0} size {1}", type.Name, Marshal.SizeOf(type));
            foreach (FieldInfo field in type.GetFields(BindingFlags.Public | BindingFlags.Instance))
            {
                Console.WriteLine("field {0}.{1} offset {2}", type.Name, field.Name, Marshal.OffsetOf(type, field.Name));
            }
        }
    }

    private static void Ok(inferno_status status)
    {
        if (status == inferno_status.INFERNO_STATUS_OK) return;
        throw new Exception(status + ": " + Marshal.PtrToStringAnsi((IntPtr)Native.inferno_last_error()));
    }

    private static void Run()
    {
        IntPtr model, session;
        inferno_tensor image, scores;
        long* dims = stackalloc long[2];
        UIntPtr best;
        dims[0] = 1;
        dims[1] = 64;
        Ok(Native.inferno_model_load_default(&model));
        Ok(Native.inferno_session_new(model, null, &session));
        Ok(Native.inferno_session_set_shape(session, UIntPtr.Zero, 2, dims));
        Ok(Native.inferno_session_input(session, UIntPtr.Zero, &image));
        for (int i = 0; i < 64; i++) ((float*)image.data)[i] = 0;
        Ok(Native.inferno_session_run(session, null));
        Ok(Native.inferno_session_output(session, UIntPtr.Zero, &scores));
        Ok(Native.inferno_argmax((float*)scores.data, (UIntPtr)1, (UIntPtr)scores.dims[1], &best));
        Console.WriteLine("run {0} {1} {2}", Native.inferno_version(), scores.dims[1], best);
        Ok(Native.inferno_session_free(session));
        Ok(Native.inferno_model_free(model));
    }

    public static void Main(string[] arguments)
    {
        if (arguments[0] == "layout") Layout();
        else Run();
    }
}

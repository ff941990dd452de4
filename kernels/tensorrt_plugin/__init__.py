"""The correlation as a plugin of TensorRT: ``aot`` puts the kernel into the plan itself."""

// Calls `use` with the files that are dropped on an element.
export function onDrop(target, use) {
  target.ondragover = () => target.classList.add("over");
  target.ondragleave = () => target.classList.remove("over");
  target.ondrop = (event) => {
    event.preventDefault();
    target.classList.remove("over");
    if (event.dataTransfer.files.length) use([...event.dataTransfer.files]);
  };
}

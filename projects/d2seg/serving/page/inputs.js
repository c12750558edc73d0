// Where pictures come from: files, drops, the clipboard, samples, a camera.

const $ = (id) => document.getElementById(id);

// take(files): an array of File
export function listen(take) {
  const file = $("file"), drop = $("drop");
  file.addEventListener("change", () => {
    take([...file.files]);
    file.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) {
      event.preventDefault();
      take(files);
    }
  });
  listenToCamera(take);
}

export function showSamples(names, take) {
  $("samples").hidden = !names.length;
  names.forEach((name, number) => {
    const button = document.createElement("button"), image = new Image();
    button.type = "button";
    image.src = `/samples/${number}`;
    image.alt = `Sample ${name}`;
    button.append(image);
    button.addEventListener("click", async () => {
      const blob = await (await fetch(image.src)).blob();
      take([new File([blob], name, { type: blob.type })]);
    });
    $("samples").append(button);
  });
}

function listenToCamera(take) {
  const dialog = $("camera"), video = $("video");
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  $("webcam").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      dialog.showModal();
    } catch (error) {
      const status = $("status");
      status.textContent = `There is no picture from a camera: ${error.message}`;
      status.classList.add("bad");
    }
  });
  $("snap").addEventListener("click", async () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    dialog.close();
    take([new File([blob], "webcam.png", { type: "image/png" })]);
  });
  $("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
}

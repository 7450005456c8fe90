# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vmm_global_optspecs
    string join \n kernel= mem= initrd= cmdline= kernel-cache= huge-pages track-dirty-pages smbios= cpus= disk= cloud-init= net= vsock= imds= profile= metadata= mmds-size-limit= pmem= balloon= entropy= memory-hotplug= bus= serial= grace= log-level= log-file= api-sock= no-api config-file= id= metrics-path= allow-path= allow-tcp= tls-cert= tls-key= tls-ca= seccomp= no-fork boot-timer ready-fd= thread-groups= start-time-us= start-time-cpu-us= parent-cpu-time-us= h/help V/version
end

function __fish_vmm_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_vmm_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vmm_using_subcommand
    set -l cmd (__fish_vmm_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vmm -n "__fish_vmm_needs_command" -l kernel -d 'Kernel to boot: a bzImage, or an ELF vmlinux. If not given, what is on the disk that is the root, or on the first, is booted as its own boot loader would' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l mem -d 'Memory of the guest, such as 512M or 2G' -r
complete -c vmm -n "__fish_vmm_needs_command" -l initrd -d 'Initial RAM disk' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l cmdline -d 'Command line of the kernel. If not given: `console=ttyS0 reboot=k panic=-1`, or that of the disk that is booted, behind which goes what is given' -r
complete -c vmm -n "__fish_vmm_needs_command" -l kernel-cache -d 'Folder where a bzImage is kept unpacked for the next start, or `off`: the guest unpacks it each time. If not given: vmm/kernels in $XDG_CACHE_HOME, else in ~/.cache' -r
complete -c vmm -n "__fish_vmm_needs_command" -l smbios -d 'What SMBIOS says that the machine is: [vendor=TEXT][,product=TEXT][,version=TEXT][,serial=TEXT][,uuid=UUID][,asset-tag=TEXT]; a comma of TEXT is written twice' -r
complete -c vmm -n "__fish_vmm_needs_command" -l cpus -d 'Number of vCPUs, 1 to 64' -r
complete -c vmm -n "__fish_vmm_needs_command" -l disk -d 'Disk, once for each: [path=]FILE, a raw image or a block device, or with [,base=FILE]... an overlay on another image, which is made if it is not there; then [,ro] and [,root], [,partuuid=UUID] of the partition that is the root, [,id=ID][,serial=TEXT][,queues=N], [,model=virtio|nvme|nvme-instance], [,cache=writeback|writethrough|unsafe][,direct=on|off], [,engine=auto|uring|threads], limits, such as [,bw=125M] in byte/s and [,iops=3k], and faults [,fault=swallow|error|slow|vanish|fatal]...; a comma of FILE is written twice' -r
complete -c vmm -n "__fish_vmm_needs_command" -l cloud-init -d 'Tell cloud-init what to do, by a disk in memory: user-data=FILE[,meta-data=FILE][,network-config=FILE]; a comma of FILE is written twice' -r
complete -c vmm -n "__fish_vmm_needs_command" -l net -d 'Network card, once for each: tap=NAME, dev=NAME or fd=N[:N...], then [,model=virtio|ena][,mac=MAC][,queues=N][,mtu=N][,id=ID], [,backend=vmm|vhost]: who moves the frames, and limits, such as [,bw-in=2.5G][,bw-out=500M] in bit/s, [,pps=100k], [,conntrack=65536]. With model=ena also [,llq=off] for no low-latency queues, and rehearsals [,fault=KIND[@SECONDS]]... after the driver brought the card up: stop-keep-alive, no-answer, swallow-tx[:FRAMES], wrong-tx-id, request-reset, fatal. A TAP that does not exist is made, if the caller may; dev is an Ethernet interface that exists' -r
complete -c vmm -n "__fish_vmm_needs_command" -l vsock -d 'Sockets between the guest and the host: cid=N,path=FILE. Who connects to the Unix socket FILE, and says `CONNECT PORT`, reaches the guest; the guest\'s connections to port N of the host go to FILE_N' -r
complete -c vmm -n "__fish_vmm_needs_command" -l imds -d 'Let the guest be told what it is by metadata in EC2\'s shape, at 169.254.169.254 and fd00:ec2::254, by every card: [user-data=FILE][,instance-id=ID][,hostname=NAME][,instance-type=TYPE][,image-id=ID] [,region=NAME][,zone=NAME][,tokens=required|optional]; a comma of FILE is written twice' -r
complete -c vmm -n "__fish_vmm_needs_command" -l profile -d 'Be like an instance of a cloud: ec2 is --imds, and an SMBIOS that says so where --smbios says nothing' -r -f -a "ec2\t''"
complete -c vmm -n "__fish_vmm_needs_command" -l metadata -d 'JSON file that the guest is told by metadata, as by PUT /mmds' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l mmds-size-limit -d 'Most bytes of metadata, as compact JSON' -r
complete -c vmm -n "__fish_vmm_needs_command" -l pmem -d 'Persistent memory, once for each: [path=]FILE, then [,ro] and [,root], [,id=ID], and limits of flushes, such as [,bw=125M] in byte/s and [,iops=10]; a comma of FILE is written twice' -r
complete -c vmm -n "__fish_vmm_needs_command" -l balloon -d 'Balloon: how much memory the guest is to give up, such as 256M, or 0 at first, then [,oom] to let it take some back before it runs out, [,reporting] to have its free pages all the time, [,hinting] to have them on demand, [,stats=SECONDS] to have it report about its memory' -r
complete -c vmm -n "__fish_vmm_needs_command" -l entropy -d 'Source of entropy: off, or its limits, such as [bw=1M] in byte/s and [,iops=100]. If not given: there is one without limits' -r
complete -c vmm -n "__fish_vmm_needs_command" -l memory-hotplug -d 'Memory that the guest gets, and gives up, while it runs: all that there can be, such as 4G, then [,plugged=SIZE] of it at first, [,block=SIZE] that it comes and goes in, of 2M if not given, and [,slot=SIZE] that the guest cannot reach if it has nothing of it, of 128M if not given' -r
complete -c vmm -n "__fish_vmm_needs_command" -l bus -d 'What devices are attached to: pci, or mmio for kernels without PCI (virtio devices only). If not given: pci, unless the kernel\'s command line has pci=off' -r -f -a "pci\t''
mmio\t''"
complete -c vmm -n "__fish_vmm_needs_command" -l serial -d 'Serial console: stdio, none, file=PATH (overwritten) or socket=PATH' -r
complete -c vmm -n "__fish_vmm_needs_command" -l grace -d 'Seconds a guest may take to power off after SIGTERM or SIGINT' -r
complete -c vmm -n "__fish_vmm_needs_command" -l log-level -d 'What to log' -r -f -a "off\t''
error\t''
warn\t''
warning\t''
info\t''
debug\t''
trace\t''"
complete -c vmm -n "__fish_vmm_needs_command" -l log-file -d 'Append the log to this file instead of writing it to stderr' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l api-sock -d 'Serve the API on this Unix socket; without a kernel, a disk or a configuration file, wait there for them' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l config-file -d 'Take the machine from this JSON file, in Firecracker\'s layout, and start it' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l id -d 'Name of the machine: letters, digits and \'-\'' -r
complete -c vmm -n "__fish_vmm_needs_command" -l metrics-path -d 'Append a JSON line of metrics to this file each minute, on demand, and at the end' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l allow-path -d 'Folder with all beneath it, or one file, that files named while the guest runs may be opened in, as often as there are some: images that take a disk\'s place, captures, snapshots. If not given: folders of the disks\' images and of the process\'s sockets' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l allow-tcp -d 'Where the machine may be migrated to by TCP, as often as there are such places: an address by number, or *, and a port; if not given, only to Unix sockets in the folders of --allow-path' -r
complete -c vmm -n "__fish_vmm_needs_command" -l tls-cert -d 'Certificate by which this end of a migration by tls: is known to the other one, as PEM, and behind it those up to its authority\'s; read at the start, as are the next two' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l tls-key -d 'Its private key, as PEM' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l tls-ca -d 'Certificates of the authorities whose word is taken for who the other end is, as PEM' -r -F
complete -c vmm -n "__fish_vmm_needs_command" -l seccomp -d 'What becomes of a system call that the VMM never makes: kill ends it (exit code 6) before the call is made, log lets it pass into the kernel\'s log, off does without filters' -r -f -a "kill\t''
log\t''
off\t''"
complete -c vmm -n "__fish_vmm_needs_command" -l ready-fd -d 'Descriptor, once for each, to write `READY=1` and a newline to once the machine runs, or the API listens; the socket $NOTIFY_SOCKET is told as well' -r
complete -c vmm -n "__fish_vmm_needs_command" -l thread-groups -d 'Descriptors of two files cgroup.threads, of threaded control groups below the process\'s own: threads of vCPUs go into the first group, and those of devices into the second; vmm jail hands them over' -r
complete -c vmm -n "__fish_vmm_needs_command" -l start-time-us -d 'When who starts this process began to, in microseconds of the monotonic clock; for metrics' -r
complete -c vmm -n "__fish_vmm_needs_command" -l start-time-cpu-us -d 'CPU time of this process when who starts it began to, in microseconds; for metrics' -r
complete -c vmm -n "__fish_vmm_needs_command" -l parent-cpu-time-us -d 'CPU time that who starts this process has used in others before, in microseconds; for metrics' -r
complete -c vmm -n "__fish_vmm_needs_command" -l huge-pages -d 'Back the memory with 2 MiB pages of the host\'s pool'
complete -c vmm -n "__fish_vmm_needs_command" -l track-dirty-pages -d 'Track the pages that the guest writes to, so that snapshots of what has changed have no others'
complete -c vmm -n "__fish_vmm_needs_command" -l no-api -d 'Serve no API, whatever else is said'
complete -c vmm -n "__fish_vmm_needs_command" -l no-fork -d 'Let the machine have no children, which PUT /fork starts: there is no process that could'
complete -c vmm -n "__fish_vmm_needs_command" -l boot-timer -d 'Log how long the guest took until it wrote 123 to the boot timer\'s port, 0x3f0'
complete -c vmm -n "__fish_vmm_needs_command" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_needs_command" -s V -l version -d 'Print version'
complete -c vmm -n "__fish_vmm_needs_command" -f -a "ctl" -d 'Drives a VMM by its API socket'
complete -c vmm -n "__fish_vmm_needs_command" -f -a "restore" -d 'Makes a machine from a snapshot, and lets it go on'
complete -c vmm -n "__fish_vmm_needs_command" -f -a "receive" -d 'Waits for a machine that vmm ctl SOCKET migrate sends, and lets it go on here as soon as it is nowhere else'
complete -c vmm -n "__fish_vmm_needs_command" -f -a "snapshot" -d 'Tells about snapshots'
complete -c vmm -n "__fish_vmm_needs_command" -f -a "disk" -d 'Makes overlays, and tells about them. A machine takes one by --disk OVERLAY,base=FILE'
complete -c vmm -n "__fish_vmm_needs_command" -f -a "jail" -d 'Starts a program, by default this VMM, in a jail of its own'
complete -c vmm -n "__fish_vmm_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -s V -l version -d 'Print version'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "start" -d 'Start the machine that has been configured'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "pause" -d 'Stop vCPUs, disks and cards until resume'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "resume" -d 'Let a paused machine go on'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "snapshot" -d 'Write a snapshot of the machine into a folder, from which vmm restore lets it go on; the machine is paused meanwhile'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "fork" -d 'Start machines that go on as this one is, each in a process of its own, with its memory until they write to it; all of them, or none'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "migrate" -d 'Have the machine go on in a vmm that was started to receive it, on this host or another; if it fails it goes on here'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "power-button" -d 'Press the guest\'s power button'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "ctrl-alt-del" -d 'Press Ctrl-Alt-Del on the guest\'s keyboard'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "reset" -d 'End the VMM as a reset by the guest does'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "kill" -d 'End the VMM, whatever the guest does'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "info" -d 'Show name, state and settings'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "disks" -d 'List disks'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "disk" -d 'Show a disk, or change it'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "devices" -d 'List all devices, their PCI slots, and whether the guest is asked to let one go'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "plug" -d 'Plug a network card, a disk or persistent memory into a machine that runs'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "unplug" -d 'Take a network card, a disk or persistent memory out of a machine that runs, once the guest lets it go'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "nics" -d 'List network cards, or show one'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "rss" -d 'Show a card\'s hash key, table and hits'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "explain-flow" -d 'Tell where packets of a flow go, and why'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "capture" -d 'Write a card\'s frames to a pcapng file, end that, or show how it goes'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "latency" -d 'Measure a card\'s latencies, or show them'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "vsock" -d 'Show the vsock and its connections'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "connect" -d 'Connect to a vsock port of the guest: a terminal, or any standard input and output'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "memory" -d 'Show what the machine\'s memory comes to on the host, or change how much of the memory that is plugged while it runs the guest is to have'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "balloon" -d 'Show the balloon and the guest\'s memory, or change how much the guest is to give up'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "metrics" -d 'Show all figures as OpenMetrics text'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "events" -d 'Follow what happens, one JSON object a line'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "top" -d 'Watch rates, queues and vCPUs live'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and not __fish_seen_subcommand_from start pause resume snapshot fork migrate power-button ctrl-alt-del reset kill info disks disk devices plug unplug nics rss explain-flow capture latency vsock connect memory balloon metrics events top help" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from start" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from pause" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from resume" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from snapshot" -l diff -d 'Write only the memory that has changed since the last snapshot; if the folder has that, all of it is as it is now'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from snapshot" -l stay-paused -d 'Leave the machine paused'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from snapshot" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from snapshot" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l first -d 'Number of the first' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l net -d 'TAP of a network card, once for each, such as eth0=tap{n}; the machine\'s TAP, - and the number if not given. identity=rewrite, mac=, ip= and guest-ip= behind it give it other addresses on the wire, the first child the ip and each next one the next; link=flap has the guest see its link go down and come again, driver=reset has it reset an ENA card' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l disk -d 'Image of a disk that is written, once for each, such as root=/images/{n}.raw, which must not be there; the machine\'s image, . and the number if not given' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l id -d 'Names; the machine\'s, - and the number if not given' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l api-sock -d 'Sockets of their APIs; the machine\'s, . and the number if not given' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l vsock -d 'Sockets of their vsocks; the machine\'s, . and the number if not given' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l serial -d 'Serial consoles: file=PATH or socket=PATH; none if not given' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l log-file -d 'Files of their logs; the machine\'s if not given' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l forks -d 'Let them have children themselves'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l paused -d 'Leave them paused'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from fork" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -l target-name -d 'Whom the certificate of a target by tls: is to be for; its HOST if not given' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -l max-downtime -d 'Milliseconds that the machine may rest for: it is paused once what is left would go in this time' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -l max-rounds -d 'How often memory is sent at most before that: all of it, then what was written meanwhile' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -l insecure -d 'Send its memory by TCP, where everybody on the way can read and change it'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -l regardless -d 'Pause it after so many rounds for as long as it takes; it stays, and goes on, if not given'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -l stop -d 'Have it stay that is being migrated'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from migrate" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from power-button" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from power-button" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from ctrl-alt-del" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from ctrl-alt-del" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from reset" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from kill" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from kill" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from info" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disks" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disks" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disk" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disk" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disk" -a "resize" -d 'Look at the image\'s size again, and tell the guest if it has changed'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disk" -a "replace" -d 'Give it another image'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disk" -a "fault" -d 'Make it go wrong, or let it behave well again'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from disk" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from devices" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from devices" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from plug" -l net -d 'A network card, as for vmm --net' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from plug" -l disk -d 'A disk, as for vmm --disk' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from plug" -l pmem -d 'Persistent memory, as for vmm --pmem' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from plug" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from plug" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from unplug" -l kind -d 'What it is, if there are two of this id' -r -f -a "net\t''
disk\t''
pmem\t''"
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from unplug" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from unplug" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from nics" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from nics" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from rss" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from rss" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from explain-flow" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from explain-flow" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from capture" -l queue -d 'Frames of this queue pair only' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from capture" -l max-bytes -d 'Bytes of the file' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from capture" -l max-seconds -d 'Seconds after which the capture ends' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from capture" -l stop -d 'End the capture'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from capture" -l ring -d 'Keep the newest frames instead of the first'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from capture" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from capture" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from latency" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from latency" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from vsock" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from vsock" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from connect" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from connect" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from memory" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from memory" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from balloon" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from balloon" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from metrics" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from metrics" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from events" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from events" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from top" -l every -d 'Seconds between two looks' -r
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from top" -l json -d 'Print the API\'s JSON instead of text for people'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from top" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "start" -d 'Start the machine that has been configured'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "pause" -d 'Stop vCPUs, disks and cards until resume'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "resume" -d 'Let a paused machine go on'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "snapshot" -d 'Write a snapshot of the machine into a folder, from which vmm restore lets it go on; the machine is paused meanwhile'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "fork" -d 'Start machines that go on as this one is, each in a process of its own, with its memory until they write to it; all of them, or none'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "migrate" -d 'Have the machine go on in a vmm that was started to receive it, on this host or another; if it fails it goes on here'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "power-button" -d 'Press the guest\'s power button'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "ctrl-alt-del" -d 'Press Ctrl-Alt-Del on the guest\'s keyboard'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "reset" -d 'End the VMM as a reset by the guest does'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "kill" -d 'End the VMM, whatever the guest does'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "info" -d 'Show name, state and settings'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "disks" -d 'List disks'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "disk" -d 'Show a disk, or change it'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "devices" -d 'List all devices, their PCI slots, and whether the guest is asked to let one go'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "plug" -d 'Plug a network card, a disk or persistent memory into a machine that runs'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "unplug" -d 'Take a network card, a disk or persistent memory out of a machine that runs, once the guest lets it go'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "nics" -d 'List network cards, or show one'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "rss" -d 'Show a card\'s hash key, table and hits'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "explain-flow" -d 'Tell where packets of a flow go, and why'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "capture" -d 'Write a card\'s frames to a pcapng file, end that, or show how it goes'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "latency" -d 'Measure a card\'s latencies, or show them'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "vsock" -d 'Show the vsock and its connections'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "connect" -d 'Connect to a vsock port of the guest: a terminal, or any standard input and output'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "memory" -d 'Show what the machine\'s memory comes to on the host, or change how much of the memory that is plugged while it runs the guest is to have'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "balloon" -d 'Show the balloon and the guest\'s memory, or change how much the guest is to give up'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "metrics" -d 'Show all figures as OpenMetrics text'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "events" -d 'Follow what happens, one JSON object a line'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "top" -d 'Watch rates, queues and vCPUs live'
complete -c vmm -n "__fish_vmm_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l memory -d 'The file with the memory; that called `memory` beside the state if not given' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l pager -d 'Who brings pages of the memory as they are touched: the kernel, own (a thread of this process), or the socket of a process that does' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l clock -d 'Whether the guest\'s clocks go on with the time that passed, advance, or from where they were, freeze' -r -f -a "advance\t''
freeze\t''"
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l net -d 'Another TAP for a network card, once for each; identity=rewrite, mac=, ip= and guest-ip= behind it give it other addresses on the wire, link=flap has its link go down for a while, and driver=reset has the driver of an ENA card reset it' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l disk -d 'Another image for a disk, once for each; behind it ,base=FILE... of one that is an overlay, which is made if it is not there' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l vsock -d 'Another Unix socket for the vsock' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l serial -d 'Serial console: stdio, none, file=PATH (overwritten) or socket=PATH' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l grace -d 'Seconds a guest may take to power off after SIGTERM or SIGINT' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l log-level -d 'What to log' -r -f -a "off\t''
error\t''
warn\t''
warning\t''
info\t''
debug\t''
trace\t''"
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l log-file -d 'Append the log to this file instead of writing it to stderr' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l api-sock -d 'Serve the API on this Unix socket' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l seccomp -d 'What becomes of a system call that the VMM never makes, as of `vmm`' -r -f -a "kill\t''
log\t''
off\t''"
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l allow-path -d 'Folder with all beneath it, or one file, that files named while the guest runs may be opened in, as of `vmm`; if not given, the snapshot\'s folders besides' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l id -d 'Name of the machine: letters, digits and \'-\'' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l metrics-path -d 'Append a JSON line of metrics to this file each minute, on demand, and at the end' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l allow-tcp -d 'Where the machine may be migrated to by TCP, as of `vmm`' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l tls-cert -d 'Certificate by which this end of a migration by tls: is known to the other one, as PEM, and behind it those up to its authority\'s; read at the start, as are the next two' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l tls-key -d 'Its private key, as PEM' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l tls-ca -d 'Certificates of the authorities whose word is taken for who the other end is, as PEM' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l ready-fd -d 'Descriptor, once for each, to write `READY=1` and a newline to once the machine runs, or the API listens; the socket $NOTIFY_SOCKET is told as well' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l thread-groups -d 'Descriptors of two files cgroup.threads, of threaded control groups below the process\'s own: threads of vCPUs go into the first group, and those of devices into the second; vmm jail hands them over' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l start-time-us -d 'When who starts this process began to, in microseconds of the monotonic clock; for metrics' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l start-time-cpu-us -d 'CPU time of this process when who starts it began to, in microseconds; for metrics' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l parent-cpu-time-us -d 'CPU time that who starts this process has used in others before, in microseconds; for metrics' -r
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l record -d 'Write down which pages are used first, beside the memory: they are fetched ahead from then on'
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l track-dirty-pages -d 'Track the pages that the guest writes to, so that snapshots of what has changed have no others'
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l paused -d 'Leave the machine paused'
complete -c vmm -n "__fish_vmm_using_subcommand restore" -l no-fork -d 'Let the machine have no children, which PUT /fork starts'
complete -c vmm -n "__fish_vmm_using_subcommand restore" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand restore" -s V -l version -d 'Print version'
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l net -d 'Another TAP for a network card, once for each; identity=rewrite, mac=, ip= and guest-ip= behind it give it other addresses on the wire, link=flap has its link go down for a while, and driver=reset has the driver of an ENA card reset it' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l disk -d 'Another image for a disk, once for each; behind it ,base=FILE... of one that is an overlay, which is made if it is not there' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l vsock -d 'Another Unix socket for the vsock' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l serial -d 'Serial console: stdio, none, file=PATH (overwritten) or socket=PATH' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l grace -d 'Seconds a guest may take to power off after SIGTERM or SIGINT' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l log-level -d 'What to log' -r -f -a "off\t''
error\t''
warn\t''
warning\t''
info\t''
debug\t''
trace\t''"
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l log-file -d 'Append the log to this file instead of writing it to stderr' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l api-sock -d 'Serve the API on this Unix socket' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l seccomp -d 'What becomes of a system call that the VMM never makes, as of `vmm`' -r -f -a "kill\t''
log\t''
off\t''"
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l allow-path -d 'Folder with all beneath it, or one file, that files named while the guest runs may be opened in, as of `vmm`; if not given, the snapshot\'s folders besides' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l id -d 'Name of the machine: letters, digits and \'-\'' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l metrics-path -d 'Append a JSON line of metrics to this file each minute, on demand, and at the end' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l allow-tcp -d 'Where the machine may be migrated to by TCP, as of `vmm`' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l tls-cert -d 'Certificate by which this end of a migration by tls: is known to the other one, as PEM, and behind it those up to its authority\'s; read at the start, as are the next two' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l tls-key -d 'Its private key, as PEM' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l tls-ca -d 'Certificates of the authorities whose word is taken for who the other end is, as PEM' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l ready-fd -d 'Descriptor, once for each, to write `READY=1` and a newline to once the machine runs, or the API listens; the socket $NOTIFY_SOCKET is told as well' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l thread-groups -d 'Descriptors of two files cgroup.threads, of threaded control groups below the process\'s own: threads of vCPUs go into the first group, and those of devices into the second; vmm jail hands them over' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l start-time-us -d 'When who starts this process began to, in microseconds of the monotonic clock; for metrics' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l start-time-cpu-us -d 'CPU time of this process when who starts it began to, in microseconds; for metrics' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l parent-cpu-time-us -d 'CPU time that who starts this process has used in others before, in microseconds; for metrics' -r
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l insecure -d 'Take it over a network where everybody can read its memory, change it, or send another machine'
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l track-dirty-pages -d 'Track the pages that the guest writes to, so that snapshots of what has changed have no others'
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l paused -d 'Leave the machine paused'
complete -c vmm -n "__fish_vmm_using_subcommand receive" -l no-fork -d 'Let the machine have no children, which PUT /fork starts'
complete -c vmm -n "__fish_vmm_using_subcommand receive" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand receive" -s V -l version -d 'Print version'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -s V -l version -d 'Print version'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -f -a "show" -d 'Show what a snapshot is and what is in it'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -f -a "check" -d 'Read all of a snapshot, to see whether it is as it was written'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -f -a "merge" -d 'Lay snapshots of what has changed, in their order, over the one that they are of, and write the whole one'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -f -a "diff" -d 'Show what two snapshots have different'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -f -a "edit-memory" -d 'Work on memory files alone, by the words of Firecracker\'s snapshot-editor'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and not __fish_seen_subcommand_from show check merge diff edit-memory help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from show" -l json -d 'Print the whole state as JSON'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from check" -l memory -d 'The file with the memory; that called `memory` beside the state if not given' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from merge" -l to -d 'The folder to write to, which is made if it is not there; it may be one of the others' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from merge" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from edit-memory" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from edit-memory" -f -a "rebase" -d 'Lay a file of changes over a memory file: all that it has in no hole'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from edit-memory" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show what a snapshot is and what is in it'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "check" -d 'Read all of a snapshot, to see whether it is as it was written'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "merge" -d 'Lay snapshots of what has changed, in their order, over the one that they are of, and write the whole one'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "diff" -d 'Show what two snapshots have different'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "edit-memory" -d 'Work on memory files alone, by the words of Firecracker\'s snapshot-editor'
complete -c vmm -n "__fish_vmm_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -s V -l version -d 'Print version'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -f -a "create" -d 'Make an overlay that has nothing yet'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -f -a "info" -d 'Show what the file of an overlay says of itself'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -f -a "check" -d 'Look whether an overlay is whole, and on its base as that was'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -f -a "flatten" -d 'Write an overlay and what is below it to one raw image'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -f -a "rebase" -d 'Have an overlay be on a base whose bytes are the same as those of the one that it was made on, such as a copy; if they are not, the disk is a mixture of both'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and not __fish_seen_subcommand_from create info check flatten rebase help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from create" -l base -d 'What is below it: a raw image or a block device; before that, once for each, overlays that are between, the nearest first' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from create" -l size -d 'Bytes of the disk, such as 20G, if it is to be larger than its base' -r
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from info" -l json -d 'As JSON'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from check" -l base -d 'What is below it: a raw image or a block device; before that, once for each, overlays that are between, the nearest first' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from flatten" -l base -d 'What is below it: a raw image or a block device; before that, once for each, overlays that are between, the nearest first' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from flatten" -l to -d 'The image, which must not be there' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from flatten" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from rebase" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from help" -f -a "create" -d 'Make an overlay that has nothing yet'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from help" -f -a "info" -d 'Show what the file of an overlay says of itself'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from help" -f -a "check" -d 'Look whether an overlay is whole, and on its base as that was'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from help" -f -a "flatten" -d 'Write an overlay and what is below it to one raw image'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from help" -f -a "rebase" -d 'Have an overlay be on a base whose bytes are the same as those of the one that it was made on, such as a copy; if they are not, the disk is a mixture of both'
complete -c vmm -n "__fish_vmm_using_subcommand disk; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l id -d 'Name of the machine: letters, digits and hyphens, 64 at most' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l exec-file -d 'The program. If not given: this one' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l uid -d 'User that it runs as' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l gid -d 'Group that it runs as; it has no other' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l chroot-base-dir -d 'Folder of all jails' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l netns -d 'Network namespace, by its handle, such as /run/netns/NAME' -r -F
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l tap -d 'TAP to make in the network namespace of its own, for the program\'s user: NAME[,queues=N][,mtu=N]; once for each' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l fd -d 'Descriptor that the program is handed, such as an open TAP; once for each. All others are closed, but the standard ones' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l ready-fd -d 'Descriptor that the program is handed to say by that it is ready, by --ready-fd, which it must know; so is the socket $NOTIFY_SOCKET, if the program is this VMM' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l cgroup -d 'Value of a control group, such as cpu.weight=50; once for each' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l cgroup-version -d 'Version of control groups, 1 or 2. If not given: that of the host\'s in which the controllers are' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l vcpu-cgroup -d 'Value of the group of vCPUs\' threads, such as cpu.weight=50; once for each' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l lane-cgroup -d 'Value of the group of devices\' threads; once for each' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l parent-cgroup -d 'Control group under which the machine\'s is made. If not given: the program\'s name; with --rootless the one that it is started in, which has to be delegated' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l resource-limit -d 'Limit of the process: fsize=BYTES, or no-file=N, by default 2048; once for each' -r
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l rootless -d 'Build the jail in a user namespace, as somebody else than root who may open /dev/kvm. The program runs as that user, and in a PID namespace; who starts the jail stays until it has ended, unless --new-pid-ns or --daemonize says otherwise'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l new-net-ns -d 'A network namespace of its own, in which nothing is'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l vhost-net -d 'Bring /dev/vhost-net into the jail, for cards with backend=vhost'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l daemonize -d 'Go into the background: a session of its own, /dev/null for its standard descriptors'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l new-pid-ns -d 'A PID namespace of its own; the PID as the host knows it is in /NAME.pid'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l thread-cgroups -d 'Put threads apart, in control groups below the machine\'s (version 2): vcpus for those of vCPUs, lanes for those of devices. The program must be this VMM'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l core-scheduling -d 'Let no other program\'s threads run on a core while one of this program\'s does'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -l clean -d 'Remove the jail and the control groups of a machine that has ended'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -s h -l help -d 'Print help'
complete -c vmm -n "__fish_vmm_using_subcommand jail" -s V -l version -d 'Print version'
complete -c vmm -n "__fish_vmm_using_subcommand help; and not __fish_seen_subcommand_from ctl restore receive snapshot disk jail help" -f -a "ctl" -d 'Drives a VMM by its API socket'
complete -c vmm -n "__fish_vmm_using_subcommand help; and not __fish_seen_subcommand_from ctl restore receive snapshot disk jail help" -f -a "restore" -d 'Makes a machine from a snapshot, and lets it go on'
complete -c vmm -n "__fish_vmm_using_subcommand help; and not __fish_seen_subcommand_from ctl restore receive snapshot disk jail help" -f -a "receive" -d 'Waits for a machine that vmm ctl SOCKET migrate sends, and lets it go on here as soon as it is nowhere else'
complete -c vmm -n "__fish_vmm_using_subcommand help; and not __fish_seen_subcommand_from ctl restore receive snapshot disk jail help" -f -a "snapshot" -d 'Tells about snapshots'
complete -c vmm -n "__fish_vmm_using_subcommand help; and not __fish_seen_subcommand_from ctl restore receive snapshot disk jail help" -f -a "disk" -d 'Makes overlays, and tells about them. A machine takes one by --disk OVERLAY,base=FILE'
complete -c vmm -n "__fish_vmm_using_subcommand help; and not __fish_seen_subcommand_from ctl restore receive snapshot disk jail help" -f -a "jail" -d 'Starts a program, by default this VMM, in a jail of its own'
complete -c vmm -n "__fish_vmm_using_subcommand help; and not __fish_seen_subcommand_from ctl restore receive snapshot disk jail help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "start" -d 'Start the machine that has been configured'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "pause" -d 'Stop vCPUs, disks and cards until resume'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "resume" -d 'Let a paused machine go on'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "snapshot" -d 'Write a snapshot of the machine into a folder, from which vmm restore lets it go on; the machine is paused meanwhile'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "fork" -d 'Start machines that go on as this one is, each in a process of its own, with its memory until they write to it; all of them, or none'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "migrate" -d 'Have the machine go on in a vmm that was started to receive it, on this host or another; if it fails it goes on here'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "power-button" -d 'Press the guest\'s power button'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "ctrl-alt-del" -d 'Press Ctrl-Alt-Del on the guest\'s keyboard'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "reset" -d 'End the VMM as a reset by the guest does'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "kill" -d 'End the VMM, whatever the guest does'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "info" -d 'Show name, state and settings'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "disks" -d 'List disks'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "disk" -d 'Show a disk, or change it'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "devices" -d 'List all devices, their PCI slots, and whether the guest is asked to let one go'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "plug" -d 'Plug a network card, a disk or persistent memory into a machine that runs'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "unplug" -d 'Take a network card, a disk or persistent memory out of a machine that runs, once the guest lets it go'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "nics" -d 'List network cards, or show one'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "rss" -d 'Show a card\'s hash key, table and hits'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "explain-flow" -d 'Tell where packets of a flow go, and why'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "capture" -d 'Write a card\'s frames to a pcapng file, end that, or show how it goes'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "latency" -d 'Measure a card\'s latencies, or show them'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "vsock" -d 'Show the vsock and its connections'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "connect" -d 'Connect to a vsock port of the guest: a terminal, or any standard input and output'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "memory" -d 'Show what the machine\'s memory comes to on the host, or change how much of the memory that is plugged while it runs the guest is to have'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "balloon" -d 'Show the balloon and the guest\'s memory, or change how much the guest is to give up'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "metrics" -d 'Show all figures as OpenMetrics text'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "events" -d 'Follow what happens, one JSON object a line'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "top" -d 'Watch rates, queues and vCPUs live'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "show" -d 'Show what a snapshot is and what is in it'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "check" -d 'Read all of a snapshot, to see whether it is as it was written'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "merge" -d 'Lay snapshots of what has changed, in their order, over the one that they are of, and write the whole one'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "diff" -d 'Show what two snapshots have different'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "edit-memory" -d 'Work on memory files alone, by the words of Firecracker\'s snapshot-editor'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from disk" -f -a "create" -d 'Make an overlay that has nothing yet'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from disk" -f -a "info" -d 'Show what the file of an overlay says of itself'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from disk" -f -a "check" -d 'Look whether an overlay is whole, and on its base as that was'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from disk" -f -a "flatten" -d 'Write an overlay and what is below it to one raw image'
complete -c vmm -n "__fish_vmm_using_subcommand help; and __fish_seen_subcommand_from disk" -f -a "rebase" -d 'Have an overlay be on a base whose bytes are the same as those of the one that it was made on, such as a copy; if they are not, the disk is a mixture of both'

import { ActionIcon, Group, Tooltip, UnstyledButton } from '@mantine/core'
import { IconPlus, IconSearch, IconTextDecrease, IconTextIncrease, IconX } from '@tabler/icons-react'
import { useParams, useSearch } from '@tanstack/react-router'
import { type KeyboardEvent, useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { graphql } from '../../gql'
import { ask } from '../../shared/auth'
import { randomId } from '../../shared/ids'
import { keep, recall } from '../../shared/personal'
import { useLogin } from '../../shared/useLogin'
import { usePageTitle } from '../../shared/usePageTitle'
import { endShell } from './line'
import { TerminalPane } from './TerminalPane'

const NAME = graphql(`
  query SessionName($id: ID!) {
    node(id: $id) {
      __typename
      ... on Session {
        name
        kernels {
          id
          hostname
        }
      }
    }
  }
`)

type Tab = { id: string; number: number }

export default function TerminalRoute() {
  const viewer = useLogin()
  const { kernel } = useSearch({ strict: false }) as { kernel?: string }
  return viewer && <Terminals key={`${viewer.id}.${kernel}`} kernel={kernel} />
}

/** Several shells of one container, by default main1. Their ids are kept for the window, so a reload comes back to the same shells. */
function Terminals({ kernel }: { kernel?: string }) {
  const { t } = useTranslation()
  const { id } = useParams({ strict: false }) as { id: string }
  const key = `terminals.${kernel ?? id}`
  const [tabs, setTabs] = useState<Tab[]>(() => recall('tab', key, [fresh(1)]))
  const [before] = useState(() => new Set(recall<Tab[]>('tab', key, []).map((tab) => tab.id)))
  const [active, setActive] = useState(tabs[0]?.id ?? '')
  const [searching, setSearching] = useState(false)
  const [size, setSize] = useState(() => Number(localStorage.getItem('berth.terminal.size')) || 14)
  const name = useSessionName(id, kernel)

  useEffect(() => keep('tab', key, tabs), [key, tabs])
  useEffect(() => localStorage.setItem('berth.terminal.size', String(size)), [size])
  usePageTitle(name ? `${name} · ${t('terminal.title')}` : t('terminal.title'))

  function add() {
    const tab = fresh(Math.max(0, ...tabs.map((one) => one.number)) + 1)
    setTabs([...tabs, tab])
    setActive(tab.id)
  }

  function close(tab: Tab) {
    void endShell(id, kernel, tab.id)
    const left = tabs.filter((one) => one.id !== tab.id)
    const next = left.length > 0 ? left : [fresh(tab.number + 1)]
    setTabs(next)
    if (active === tab.id) setActive(next.at(-1)?.id ?? '')
  }

  function move(event: KeyboardEvent) {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0
    const next = tabs[(tabs.findIndex((tab) => tab.id === active) + step + tabs.length) % tabs.length]
    if (step && next) setActive(next.id)
  }

  const tools = [
    { label: t('terminal.search'), icon: IconSearch, act: () => setSearching(!searching) },
    { label: t('terminal.smaller'), icon: IconTextDecrease, act: () => setSize(Math.max(9, size - 1)) },
    { label: t('terminal.larger'), icon: IconTextIncrease, act: () => setSize(Math.min(28, size + 1)) },
  ]
  return (
    <main className="terminal">
      <Group justify="space-between" px="xs" py={4} wrap="nowrap">
        <Group gap={4} wrap="nowrap" miw={0}>
          <div role="tablist" aria-label={t('terminal.title')} className="terminal-tabs" onKeyDown={move}>
            {tabs.map((tab) => (
              <UnstyledButton
                key={tab.id}
                id={tab.id}
                role="tab"
                aria-selected={tab.id === active}
                aria-controls={`${tab.id}-panel`}
                tabIndex={tab.id === active ? 0 : -1}
                onClick={() => setActive(tab.id)}
                className="terminal-tab-button"
              >
                {t('terminal.tab', { number: tab.number })}
              </UnstyledButton>
            ))}
          </div>
          <Tool label={t('terminal.new')} icon={IconPlus} act={add} />
        </Group>
        <Group gap={4} wrap="nowrap">
          {tools.map((tool) => (
            <Tool key={tool.label} {...tool} />
          ))}
          <Tool
            label={t('terminal.close')}
            icon={IconX}
            act={() => tabs.filter((tab) => tab.id === active).forEach(close)}
          />
        </Group>
      </Group>
      {tabs.map((tab) => (
        <TerminalPane
          key={tab.id}
          sessionId={id}
          kernelId={kernel}
          terminalId={tab.id}
          resumed={before.has(tab.id)}
          shown={tab.id === active}
          size={size}
          labelledBy={tab.id}
          searching={searching}
          onSearch={setSearching}
        />
      ))}
    </main>
  )
}

function Tool(props: { label: string; icon: typeof IconX; act: () => void }) {
  return (
    <Tooltip label={props.label}>
      <ActionIcon
        variant="transparent"
        className="terminal-tool"
        aria-label={props.label}
        onClick={props.act}
      >
        <props.icon size={17} aria-hidden />
      </ActionIcon>
    </Tooltip>
  )
}

/** With the container's, where one was chosen. */
function useSessionName(id: string, kernel?: string): string | undefined {
  const [name, setName] = useState<string>()
  useEffect(() => {
    ask(NAME, { id }).then(
      ({ node }) => {
        const session = node?.__typename === 'Session' ? node : undefined
        const host = session?.kernels.find((one) => one.id === kernel)?.hostname
        setName(host ? `${host} · ${session?.name}` : session?.name)
      },
      () => undefined,
    )
  }, [id, kernel])
  return name
}

function fresh(number: number): Tab {
  return { id: `w${randomId()}`, number }
}

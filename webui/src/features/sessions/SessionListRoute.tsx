import { Button, Group, Paper, Skeleton, Stack, Tabs, Text, Title } from '@mantine/core'
import { IconPlus, IconTerminal2, IconTrash } from '@tabler/icons-react'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useCallback, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useQuery } from 'urql'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { Pager, type Place, pageArguments } from '../../shared/Pager'
import { SearchField } from '../../shared/SearchField'
import type { ListSearch } from '../../shared/search'
import { useSessionNews } from '../../shared/sessionStream'
import { useDialog } from '../../shared/useDialog'
import { usePageTitle } from '../../shared/usePageTitle'
import { LIST, type ListedSession } from './documents'
import { SessionTable } from './SessionTable'
import { TerminateDialog } from './TerminateDialog'

const PAGE = 25
const CATEGORY = { running: 'RUNNING', finished: 'FINISHED', other: 'OTHER' } as const
const NOTHING = {
  running: 'sessions.emptyRunning',
  finished: 'sessions.emptyFinished',
  other: 'sessions.emptyOther',
} as const

export default function SessionListRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const { tab = 'running', search = '' } = useSearch({ strict: false }) as ListSearch
  const [place, setPlace] = useState<Place>({})
  const [selected, setSelected] = useState<string[]>([])
  const ending = useDialog<ListedSession[]>()
  const [{ data, fetching, error }, reload] = useQuery({
    query: LIST,
    variables: {
      filter: { category: CATEGORY[tab], ...(search ? { search } : {}) },
      ...pageArguments(PAGE, place),
    },
    requestPolicy: 'cache-and-network',
  })
  useSessionNews(() => reload({ requestPolicy: 'network-only' }))

  usePageTitle(t('sessions.title'))

  const go = useCallback(
    (next: ListSearch) => {
      setPlace({})
      setSelected([])
      void navigate({ to: '/sessions', search: next, replace: true })
    },
    [navigate],
  )
  const onSearch = useCallback((text: string) => go({ tab, search: text }), [go, tab])

  const rows = data?.sessions.nodes ?? []
  const chosen = rows.filter(
    (row) => selected.includes(row.id) && row.allowedActions.includes('terminateSessions'),
  )
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <Title order={1} size="h2">
          {t('sessions.title')}
        </Title>
        <Button
          component={Link}
          to="/launch"
          hiddenFrom="sm"
          leftSection={<IconPlus size={16} aria-hidden />}
        >
          {t('app.start')}
        </Button>
      </Group>
      <Tabs value={tab} onChange={(value) => go({ tab: (value ?? 'running') as ListSearch['tab'], search })}>
        <Tabs.List>
          {(['running', 'finished', 'other'] as const).map((name) => (
            <Tabs.Tab key={name} value={name}>
              {t(`sessions.${name}`)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value={tab} pt="md">
          <Group justify="space-between" mb="sm" mih={36}>
            <SearchField label={t('sessions.search')} value={search} onSearch={onSearch} />
            {chosen.length > 0 && (
              <Group gap="sm">
                <Text size="sm">{t('sessions.selected', { count: chosen.length })}</Text>
                <Button
                  color="red"
                  variant="light"
                  size="xs"
                  leftSection={<IconTrash size={14} aria-hidden />}
                  onClick={() => ending.open(chosen)}
                >
                  {t('sessions.terminate')}
                </Button>
              </Group>
            )}
          </Group>
          {error && <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />}
          {!data && fetching && <Waiting />}
          {data && rows.length === 0 && !error && <NothingHere tab={tab} searched={search !== ''} />}
          {rows.length > 0 && (
            <Paper className="card" radius="md">
              <SessionTable
                rows={rows}
                selected={selected}
                onSelect={setSelected}
                onEnd={(row) => ending.open([row])}
                running={tab === 'running'}
              />
            </Paper>
          )}
          {data && rows.length > 0 && <Pager page={data.sessions} onGo={setPlace} />}
        </Tabs.Panel>
      </Tabs>
      <TerminateDialog
        sessions={ending.about ?? []}
        opened={ending.opened}
        onClose={(done) => {
          ending.close()
          if (done) setSelected([])
        }}
      />
    </Stack>
  )
}

function NothingHere({ tab, searched }: { tab: keyof typeof NOTHING; searched: boolean }) {
  const { t } = useTranslation()
  return (
    <Paper className="card" radius="md">
      <Empty
        icon={IconTerminal2}
        title={t(searched ? 'sessions.noMatch' : NOTHING[tab])}
        hint={searched ? '' : t('sessions.emptyHint')}
        action={
          <Button component={Link} to="/launch" mt="sm">
            {t('app.start')}
          </Button>
        }
      />
    </Paper>
  )
}

function Waiting() {
  return (
    <Stack gap="xs" aria-busy>
      {[1, 2, 3, 4].map((row) => (
        <Skeleton key={row} height={52} radius="md" />
      ))}
    </Stack>
  )
}

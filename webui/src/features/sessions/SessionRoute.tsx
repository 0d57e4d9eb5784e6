import {
  Alert,
  Button,
  Center,
  Group,
  Loader,
  Paper,
  SimpleGrid,
  Stack,
  Tabs,
  Text,
  Timeline,
  Title,
} from '@mantine/core'
import {
  IconMapQuestion,
  IconPlugConnectedX,
  IconRefresh,
  IconTerminal2,
  IconTrash,
} from '@tabler/icons-react'
import { Link, useParams } from '@tanstack/react-router'
import { lazy, Suspense, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useQuery } from 'urql'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { amount, duration, moment } from '../../shared/format'
import { StatusBadge } from '../../shared/StatusBadge'
import { useSessionNews } from '../../shared/sessionStream'
import { elapsed, useNow } from '../../shared/useNow'
import { usePageTitle } from '../../shared/usePageTitle'
import { DETAILS } from './documents'
import { Logs } from './Logs'
import { Ended, Phases } from './Phases'
import { TerminateDialog } from './TerminateDialog'

const Charts = lazy(() => import('./Charts'))
const LAUNCHING = ['PENDING', 'SCHEDULED', 'PREPARING', 'PULLING', 'PREPARED', 'CREATING']

export default function SessionRoute() {
  const { t, i18n } = useTranslation()
  const { id } = useParams({ strict: false }) as { id: string }
  const now = useNow()
  const [ending, setEnding] = useState(false)
  const [{ data, fetching, error }, reload] = useQuery({
    query: DETAILS,
    variables: { id },
    requestPolicy: 'cache-and-network',
  })
  useSessionNews(() => reload({ requestPolicy: 'network-only' }), id)
  const session = data?.node && 'status' in data.node ? data.node : null
  usePageTitle(session?.name)

  if (!session) {
    if (fetching) {
      return (
        <Center mih={300}>
          <Loader />
        </Center>
      )
    }
    if (error) return <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />
    return <Empty icon={IconMapQuestion} title={t('app.notFound')} hint={t('app.notFoundHint')} />
  }
  const launching = LAUNCHING.includes(session.status)
  const facts: [string, string | null | undefined][] = [
    [t('session.image'), session.image?.reference],
    [t('app.project'), session.group?.name],
    [t('app.resourceGroup'), session.resourceGroup?.name],
    [t('session.node'), session.kernels[0]?.agent?.name],
    [t('session.slots'), session.slots.map((slot) => `${slot.name} ${amount(slot)}`).join(', ')],
    [t('session.raised'), session.raised.map((slot) => `${slot.name} ${amount(slot)}`).join(', ')],
    [t('session.created'), moment(session.createdAt, i18n.language)],
    [t('session.started'), session.startedAt && moment(session.startedAt, i18n.language)],
    [t('session.terminated'), session.terminatedAt && moment(session.terminatedAt, i18n.language)],
    [t('session.exitCode'), session.exitCode?.toString()],
    [t('session.command'), session.startupCommand],
  ]
  return (
    <Stack gap="lg">
      <Group justify="space-between" align="flex-start">
        <div>
          <Group gap="sm">
            <Title order={1} size="h2">
              {session.name}
            </Title>
            <StatusBadge status={session.status} />
          </Group>
          <Text c="dimmed" size="sm">
            {session.image?.language} {session.image?.version} · <span className="mono">{session.id}</span>
            {session.startedAt ? ` · ${duration(elapsed(session, now))}` : ''}
          </Text>
        </div>
        <Group gap="sm">
          {session.allowedActions.includes('openTerminal') && (
            <Button
              component="a"
              href={`/sessions/${session.id}/terminal`}
              target="_blank"
              leftSection={<IconTerminal2 size={18} aria-hidden />}
            >
              {t('session.openTerminal')}
            </Button>
          )}
          {session.allowedActions.includes('terminateSessions') ? (
            <Button
              color="red"
              variant="light"
              leftSection={<IconTrash size={16} aria-hidden />}
              onClick={() => setEnding(true)}
            >
              {t('sessions.terminate')}
            </Button>
          ) : (
            <Button
              component={Link}
              to="/launch"
              search={{ from: session.id } as never}
              variant="light"
              leftSection={<IconRefresh size={16} aria-hidden />}
            >
              {t('session.again')}
            </Button>
          )}
        </Group>
      </Group>
      {session.unreachableSince && (
        <Alert color="orange" icon={<IconPlugConnectedX size={18} aria-hidden />}>
          {t('sessions.unreachable')}
        </Alert>
      )}
      <Ended session={session} />
      {launching && <Phases session={session} />}
      <Tabs defaultValue="overview" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="overview">{t('session.overview')}</Tabs.Tab>
          <Tabs.Tab value="logs">{t('session.logs')}</Tabs.Tab>
          <Tabs.Tab value="timeline">{t('session.timeline')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="overview" pt="md">
          <Stack gap="lg">
            {session.status === 'RUNNING' && (
              <Suspense fallback={<Loader />}>
                <Charts id={session.id} live />
              </Suspense>
            )}
            <Paper className="card" radius="md" p="lg">
              <Title order={2} size="h5" mb="sm">
                {t('session.details')}
              </Title>
              <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="lg" verticalSpacing="sm">
                {facts
                  .filter(([, value]) => value)
                  .map(([name, value]) => (
                    <div key={name}>
                      <Text size="xs" c="dimmed">
                        {name}
                      </Text>
                      <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
                        {value}
                      </Text>
                    </div>
                  ))}
              </SimpleGrid>
            </Paper>
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="logs" pt="md">
          <Logs id={session.id} />
        </Tabs.Panel>
        <Tabs.Panel value="timeline" pt="md">
          <Paper className="card" radius="md" p="lg">
            <Timeline active={session.events.length} bulletSize={16} lineWidth={2}>
              {session.events.map((event) => (
                <Timeline.Item key={event.id} title={t(`status.${event.status}`)}>
                  {event.message && <Text size="sm">{event.message}</Text>}
                  <Text size="xs" c="dimmed">
                    {moment(event.at, i18n.language)}
                  </Text>
                </Timeline.Item>
              ))}
            </Timeline>
          </Paper>
        </Tabs.Panel>
      </Tabs>
      <TerminateDialog sessions={[session]} opened={ending} onClose={() => setEnding(false)} />
    </Stack>
  )
}
